import io
import zipfile

import numpy as np
import pytest
from annotation_exports import PHOTO, SQUARE
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.mask_rule import parse_mask_value
from l4f_datagen.annotations.png import mask_files, parse_label_map
from l4f_datagen.core.errors import AnnotationRefused

DISC = np.hypot(*(np.mgrid[:40, :50] - 20)) < 9


def levels(on=255, off=0):
    return np.where(DISC, on, off).astype(np.uint8)


def encoded(image, kind="PNG", **more):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.fixture
def load(opened):
    """Gives the first mask of a truth of one image, and the truth."""

    def call(image, **options):
        truth = opened(image if isinstance(image, bytes) else encoded(image), "a.png", **options)
        return truth[0].load(), truth

    return call


def stacked(*planes):
    return np.stack(planes, axis=-1)


def palette(colours, ids):
    image = Image.frombytes("P", ids.shape[::-1], ids.astype(np.uint8).tobytes())
    image.putpalette(np.ravel(colours).tolist())
    return image


OPAQUE = np.full(DISC.shape, 255, np.uint8)
VARIANTS = {
    "L 0/255": levels(),
    "L ids 0/1": levels(1),
    "L ids 0/7": levels(7),
    "1 bit": Image.fromarray(levels()).convert("1"),
    "LA opaque": stacked(levels(), OPAQUE),
    "RGB": stacked(levels(), levels(), levels()),
    "RGBA opaque": stacked(levels(), levels(), levels(), OPAQUE),
    "white on transparent": stacked(OPAQUE, OPAQUE, OPAQUE, levels()),
    "black on transparent LA": stacked(OPAQUE * 0, levels()),
    "16 bit": np.where(DISC, 65535, 0).astype(np.uint16),
    "16 bit ids": DISC.astype(np.uint16),
    "palette ids": palette([(0, 0, 0), (128, 0, 0)], DISC),
    "palette black and white": palette([(255, 255, 255), (0, 0, 0)], ~DISC),
    **{kind: encoded(levels(), kind, lossless=True) for kind in ("BMP", "TIFF", "WEBP", "GIF")},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_spelling_of_one_mask_is_read_without_a_choice(load, variant):
    truth, opened = load(VARIANTS[variant])
    np.testing.assert_array_equal(truth.mask, DISC)
    assert truth.ignore is None
    assert truth.mask.dtype == bool
    assert opened.format == "png"


def with_strays(count, value=127):
    picture = levels()
    picture.flat[np.flatnonzero(~DISC)[:count]] = value
    return picture


STRAYS, NEARLY = with_strays(4, 127), levels()
STRAYS[20, 20], NEARLY[20, 20] = 128, 254
FEW_WHITE = np.zeros(DISC.shape, np.uint8)
FEW_WHITE[:10, :10], FEW_WHITE[20, :6] = 255, 90
IDS = levels(3)
IDS[:4], IDS[30:] = 255, 8
RED = stacked(levels(200, 10), levels(10, 10), levels(30, 30), levels())
OTHER_WHITE = palette([(255, 255, 255), (200, 255, 255)], ~DISC)
RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
FINE = (np.arange(4096, dtype=np.uint16) * 16).reshape(64, 64)
CHOSEN = [
    (STRAYS, {}, DISC),
    (NEARLY, {}, DISC),
    (NEARLY, {"exact_white": True}, NEARLY == 255),
    (OTHER_WHITE, {"exact_white": True}, DISC),
    (IDS, {"mask_value": 3}, IDS == 3),
    (IDS, {"mask_value": "0"}, IDS == 0),
    (RED, {"mask_value": "#C80A1E"}, DISC),
    (RED, {"mask_value": "alpha"}, DISC),
    (levels(200), {"mask_value": "#c8c8c8"}, DISC),
    (levels(200), {"mask_value": "#c8c8c9"}, DISC & False),
    (RAMP, {"mask_value": ">127"}, RAMP > 127),
    (RAMP, {"mask_value": ">0.9"}, RAMP / 255 > 0.9),
    (RAMP, {"mask_value": "soft"}, RAMP > 127),
    (FINE, {"mask_value": ">0.5"}, FINE / 65535 > 0.5),
    (FINE, {"mask_value": ">1000"}, FINE > 1000),
]


@pytest.mark.parametrize(("picture", "options", "expected"), CHOSEN)
def test_what_is_chosen_or_clear_is_the_object(load, picture, options, expected):
    truth, _ = load(picture, **options)
    np.testing.assert_array_equal(truth.mask, expected)
    value = str(options.get("mask_value"))
    if value.startswith((">", "soft")):  # levels are kept
        assert truth.alpha == pytest.approx(picture / (255 if picture is RAMP else 65535))


def test_strays_and_void_pixels_are_counted(load):
    assert load(STRAYS)[1].notes() == ["5 stray pixels neither 0 nor 255 cut at 127"]
    truth, opened = load(IDS, mask_value=3)
    np.testing.assert_array_equal(truth.ignore, IDS == 255)
    assert opened.notes() == ["200 void pixels (level 255) ignored"]


JPEG = encoded(levels(), "JPEG", quality=60)


@pytest.mark.parametrize(
    ("picture", "options", "match"),
    [
        (with_strays(60, 90), {}, r"3 grey levels \(0, 90, 255\) in a mask; choose --mask-value"),
        (with_strays(13, 90), {}, r"3 grey levels"),
        (FEW_WHITE, {}, r"3 grey levels"),  # the strays are above 5 % of the white pixels
        (levels(1) + 2 * np.roll(levels(1), 12), {}, r"4 grey levels \(0, 1, 2, 3\)"),
        (palette([(0, 0, 0), (9, 0, 0), (0, 9, 0)], DISC + np.eye(40, 50)), {}, "3 class ids"),
        (stacked(levels(), levels(9), levels(40)), {}, "a coloured image"),
        (JPEG, {}, "grey levels"),
        (levels(200), {"mask_value": "alpha"}, r"a\.png: no alpha channel"),
        (levels(), {"ignore_value": ">3"}, r"ignore value .*; give an id"),
    ],
)
def test_more_than_two_levels_need_a_choice(load, picture, options, match):
    with pytest.raises(AnnotationRefused, match=match):
        load(picture, **options)
    assert (load(JPEG, mask_value=">127")[0].mask ^ DISC).sum() < 10


def test_the_object_level_must_agree_over_the_set(saved):
    folder = saved(m={"a.png": levels(0), "b.png": levels(1), "c.png": levels(2)}) / "m"
    opened = load_annotations(folder, category="*")
    assert [opened[k].load().mask.sum() for k in range(2)] == [0, DISC.sum()]
    with pytest.raises(AnnotationRefused, match=r"c\.png: the object has level 2 here and 1 in"):
        opened[2].load()
    with pytest.raises(AnnotationRefused, match="mask images have no class names; give --mask-v"):
        load_annotations(folder, category="car")


def test_folders_of_masks_are_found_and_images_left_out(saved):
    root = saved(t={"images/a.png": PHOTO, "masks/a.png": levels(), "notes.txt": "hi"})
    opened = load_annotations(root / "t")
    np.testing.assert_array_equal(opened[0].load().mask, DISC)
    assert [item.name for item in opened] == ["masks/a.png"]
    assert opened.notes() == ["2 files beside the masks not read"]
    assert mask_files(["data/1.png", "Mask_gt/1.png"]) == {"Mask_gt/1.png": ["Mask_gt/1.png"]}
    assert list(mask_files(["data/1.png", "data/2.png"])) == ["data/1.png", "data/2.png"]


@pytest.mark.parametrize(
    "value", ["", "x", "#12", "#gggggg", ">", ">70000", ">255", "-1", "65536", "1.5"]
)
def test_mask_values_that_are_none(value):
    with pytest.raises(AnnotationRefused, match="not understood; give 7"):
        parse_mask_value(value)


def test_broken_pictures_are_one_line(saved):
    whole = encoded(levels())
    for data, what in (
        (whole[:60], "is damaged"),
        (b"\x89PNG", "is damaged"),
        (b"hi", "is not a readable image"),
        (b"", "0 bytes"),
        (encoded(Image.fromarray(levels().astype(np.float32)), "TIFF"), "has pixels of kind F"),
        (encoded(Image.new("CMYK", (4, 4)), "TIFF"), "has pixels of kind CMYK"),
        (encoded(np.full((3, 3), -5, np.int32), "TIFF"), "levels outside 16 bits"),
    ):
        with pytest.raises(AnnotationRefused, match=rf"m/a\.png: {what}"):
            load_annotations(saved(m={"a.png": data}) / "m")[0].load()


def test_unnamed_colours_are_counted_and_a_zip_is_a_folder(saved, tmp_path):
    planes = np.where(SQUARE[:, :, None], (61, 245, 61), 0).astype(np.uint8)
    planes[15:, 20:] = (1, 2, 3)
    names = "background:0,0,0::\ncar:61,245,61::\n"
    path = saved(t={"labelmap.txt": names, "SegmentationClass/a.png": planes}) / "t"
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name in ("labelmap.txt", "SegmentationClass/a.png"):
            archive.write(path / name, name)
    for truth in (load_annotations(path), load_annotations(tmp_path / "t.zip")):
        np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
        assert truth.notes()[0].startswith("50 pixels of a colour the label map does not name")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("car\n", "line 1: 'car'"),
        ("car:1,2::\n", "line 1"),
        ("car:1,2,x::\n", "line 1"),
        ("car:1,2,256::\n", "line 1"),
        ("car:1,2,99999999999::\n", "line 1"),
        ("\n\ncar:1,2,3::\ncar:1,2,4::\n", "line 4"),
        ("background:0,0,0::\n", "names no class but the background"),
        ("", "names no class"),
    ],
)
def test_broken_label_maps(text, match):
    with pytest.raises(AnnotationRefused, match=f"labelmap: ?.*{match}|labelmap {match}"):
        parse_label_map(text, "labelmap")
