from collections import Counter

import numpy as np
import pytest
from annotation_exports import RING, SQUARE, rle, runs
from pycocotools import mask as coco_mask

from l4f_datagen.annotations.drawing import (
    Canvas,
    checked_ring,
    decode_coco_rle,
    fill_polygon,
    polygons_of,
    runs_to_mask,
)
from l4f_datagen.core.errors import AnnotationRefused


def fill(points, size=(20, 30), **more):
    tally = Counter()
    return fill_polygon(checked_ring(points, "r"), Canvas(size, "r", tally), **more), tally


def test_a_rectangle_fills_its_pixels_less_its_holes():
    mask, tally = fill(RING)
    np.testing.assert_array_equal(mask, SQUARE)
    assert not tally.total()
    hole = checked_ring([[4, 4], [6, 4], [6, 6], [4, 6]], "r")
    mask, _ = fill(RING, interiors=[hole])
    assert mask.sum() == SQUARE.sum() - 4
    assert not mask[4:6, 4:6].any()


def even_odd(ring, size):
    """Pixel centres inside a ring, by counting crossings of a ray to the right."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        spans = (y0 > rows) != (y1 > rows)
        at = x0 + (rows - y0) / (y1 - y0 if y1 != y0 else 1) * (x1 - x0)
        inside ^= spans & (columns < at)
    return inside


@pytest.mark.parametrize("seed", range(20))
def test_random_stars_agree_with_pixel_centres_but_for_the_outline(seed):
    random = np.random.RandomState(seed)
    angles = np.sort(random.rand(24)) * 2 * np.pi
    radii = 40 + 30 * random.rand(24)
    centre = 64 + 40 * (random.rand(2) - 0.5)  # some leave the image
    ring = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    if np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() > np.pi:
        ring = centre + np.asarray([[-50, -50], [50, -50], [50, 50]])
    mask, _ = fill(ring.tolist(), (128, 128))
    reference = even_odd(ring, (128, 128))
    assert (mask ^ reference).sum() < 0.02 * reference.sum()


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # pycocotools, numpy 2
def test_inside_the_image_nothing_differs_from_pycocotools():
    ring = [[3.2, 4.1], [25.7, 6.6], [14.4, 18.3]]
    mask, _ = fill(ring)
    rle = coco_mask.frPyObjects([np.ravel(ring).tolist()], 20, 30)
    np.testing.assert_array_equal(mask, coco_mask.decode(rle)[:, :, 0].astype(bool))


def test_polygons_over_the_border_or_without_a_pixel_are_counted():
    mask, tally = fill([[-3, -3], [10, -3], [10, 10], [-3, 10]])
    assert mask.sum() == 100
    assert mask[:10, :10].all()
    assert +tally == {"polygons clipped at the image border": 1}
    mask, tally = fill([[3.1, 3.1], [3.2, 3.1], [3.2, 3.2]])
    assert not mask.any()
    assert +tally == {"polygons cover no pixel": 1}


def test_clipping_keeps_the_true_area():
    ring = np.asarray([[5.0, -10.0], [15.0, 10.0], [5.0, 30.0], [-5.0, 10.0]]) * 8
    # the rhombus loses both tips and both sides
    mask, _ = fill(ring.tolist(), (160, 80))
    inside = even_odd(ring + np.asarray([80, 160]), (480, 240))[160:320, 80:160]
    assert (mask ^ inside).sum() < 0.02 * inside.sum()


def test_outlines_that_only_touch_themselves_are_read():
    # Two squares that meet in one corner: what is inside is beyond doubt.
    mask, _ = fill([[2, 3], [6, 3], [6, 8], [9, 8], [9, 12], [6, 12], [6, 8], [2, 8]])
    expected = np.zeros((20, 30), bool)
    expected[3:8, 2:6] = expected[8:12, 6:9] = True
    np.testing.assert_array_equal(mask, expected)
    # outer square, bridge along x = 2, inner square backwards, bridge back
    ring = [[2, 2], [12, 2], [12, 12], [2, 12], [2, 2], [5, 5], [5, 9], [9, 9], [9, 5], [5, 5]]
    mask, _ = fill(ring)
    assert mask.sum() == pytest.approx(100 - 16, abs=12)
    assert not mask[6:8, 6:8].any()


FLAW = [[1, 1], [5, 5], [3, 4]]
BROKEN = [
    (FLAW[:2], "a polygon of 2 distinct points"),
    (FLAW[:2] * 2, "a polygon of 2 distinct points"),
    ([], "a polygon of 0 distinct points"),
    *[([FLAW[0], [odd, 2], FLAW[2]], f"polygon coordinate {said}") for odd, said in (
        (float("nan"), "nan; write finite numbers"), (float("inf"), "inf"), (1e30, r"1e\+30"),
        ("2", "'2'"), (True, "True"))],
    ([FLAW[0], [2], FLAW[2]], r"polygon point \[2\]"),
    ([FLAW[0], None, FLAW[2]], "polygon point None"),
    ("1,1;2,2", "not a list of points"),
    (None, "not a list of points"),
    ([[40, 40], [60, 40], [60, 60]], r"\(40, 40\) to \(60, 60\) lies outside .* 30 x 20"),
    ([[20, 10], [90, 10], [90, 60], [20, 60]], "lies outside its image"),
    ([[2, 2], [18, 18], [18, 2], [2, 18]], "crosses itself"),
    ([[2, 2], [18, 2], [18, 18], [2, 18]] * 2, "crosses itself"),
]  # fmt: skip


@pytest.mark.parametrize(("points", "match"), BROKEN)
def test_broken_polygons_are_refused(points, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        fill(points)
    assert "\n" not in str(caught.value)


def test_an_endless_zigzag_is_refused_before_memory_is_taken():
    zigzag = [[x % 2 * 4000, x / 10] for x in range(6000)] + [[4000, 4000], [0, 4000]]
    with pytest.raises(AnnotationRefused, match=r"longer than 8e\+06 pixels"):
        fill(zigzag, (4096, 4096))


WKT = "POLYGON ((2 17, 9 17, 9 12, 2 12, 2 17))"
GEOJSON = {"type": "Polygon", "coordinates": [[[2, 3], [9, 3], [9, 8], [2, 8], [2, 3]]]}


@pytest.mark.parametrize(
    ("geometry", "y_up", "area"),
    [
        (WKT, True, 35),
        (WKT.replace(", 2 17))", "))"), True, 35),  # a ring that is not closed
        (f"MULTI{WKT[:8]}({WKT[8:]})", True, 35),
        (" polygon((2 3,9 3,9 8,2 8,2 3),(4 4,6 4,6 6,4 6,4 4)) ", False, 35 - 4),
        (GEOJSON, False, 35),
        ("POLYGON EMPTY", False, 0),
    ],
)
def test_well_known_text_and_geojson(geometry, y_up, area):
    areas = polygons_of(geometry, "r", y_up=y_up)
    assert sum(one.draw(Canvas((20, 30), "r", Counter())).sum() for one in areas) == area


@pytest.mark.parametrize(
    "geometry",
    [
        *("POLYGON", "POLYGON ((1 2, 3 4", "LINESTRING (1 2, 3 4)", "POLYGON ((1 2, a b))", 7, {}),
        *("MULTIPOLYGON ((((1 2))))", "POLYGON ((1 2, 3))"),
        {"type": "Point", "coordinates": [1, 2]},
    ],
)
def test_broken_geometry_is_refused(geometry):
    with pytest.raises(AnnotationRefused, match=r"^r: .*(geometry|LineString|Point)"):
        polygons_of(geometry, "r", y_up=False)


@pytest.mark.parametrize("seed", range(40))
def test_run_lengths_decode_as_they_were_written(seed):
    """Down the columns for COCO, its strings by pycocotools; along the rows for CVAT."""
    random = np.random.RandomState(seed)
    mask = random.rand(*random.randint(1, 60, 2)) < random.rand()
    for record in (rle(mask), rle(mask, compressed=False)):
        np.testing.assert_array_equal(decode_coco_rle(record, mask.shape, "r"), mask)
    lengths = np.asarray(runs(mask, "C"))
    np.testing.assert_array_equal(runs_to_mask(lengths, mask.shape, "r", order="C"), mask)


def test_long_runs_and_negative_differences_survive():
    mask = np.zeros((3000, 2000), bool)
    mask[5:2900:3, 7] = True
    mask[:, 900:1700] = True
    np.testing.assert_array_equal(decode_coco_rle(rle(mask), None, "r"), mask)


CUT = "cut or holds foreign"
MALFORMED = [
    ([2, 2], [1, 2], "cover 3 of 2 x 2 pixels"),
    ([2, 2], [5, -1], "below 0 or above the image"),
    ([2, 2], [1.5, 2.5], "not whole numbers"),
    ([2, 2], [True, 3], "not whole numbers"),
    ([2, 2], [], "no run lengths"),
    ([2, 2], None, "no run lengths"),
    # The last one is continued without end.
    *[([2, 2], counts, CUT) for counts in ("", "\n", "4P", "\u00e9", "o" * 100)],
    ([2, 2], "PPPPPPPP0", "a run length above the image"),
    ([2, 2], "5", "below 0 or above|cover 5 of"),
    ([3, 2], [6], "RLE of 2 x 3 pixels on an image of 2 x 2"),
    ([2], [4], "no .height, width."),
    ([2, "2"], [4], "write whole numbers"),
    ([1 << 14, 1 << 14], [1 << 28], "16384 x 16384 pixels"),
]


@pytest.mark.parametrize(("size", "counts", "match"), MALFORMED)
def test_malformed_rle_is_refused_with_its_record(size, counts, match):
    with pytest.raises(AnnotationRefused, match=f"file annotation 7: .*({match})"):
        decode_coco_rle({"size": size, "counts": counts}, (2, 2), "file annotation 7")
