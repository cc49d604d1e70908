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


def test_a_few_stray_pixels_are_cut_at_127_and_counted(load):
    picture = with_strays(4, 127)
    picture[20, 20] = 128
    truth, opened = load(picture)
    np.testing.assert_array_equal(truth.mask, DISC)
    assert opened.notes() == ["5 stray pixels neither 0 nor 255 cut at 127"]


def test_exact_white_cuts_at_255_as_the_authors_do(load):
    picture = levels()
    picture[20, 20] = 254
    assert load(picture, exact_white=True)[0].mask.sum() == DISC.sum() - 1
    assert load(picture)[0].mask.sum() == DISC.sum()
    coloured = palette([(255, 255, 255), (200, 255, 255)], ~DISC)
    np.testing.assert_array_equal(load(coloured, exact_white=True)[0].mask, DISC)


@pytest.mark.parametrize(
    ("picture", "match"),
    [
        (with_strays(60, 90), r"3 grey levels \(0, 90, 255\) in a mask; choose --mask-value"),
        (with_strays(13, 90), r"3 grey levels"),  # above 5 % of the white pixels
        (np.where(DISC, 1, 0) + np.where(np.roll(DISC, 12), 2, 0), r"4 grey levels \(0, 1, 2, 3\)"),
        (palette([(0, 0, 0), (9, 0, 0), (0, 9, 0)], DISC + np.eye(40, 50)), "3 class ids"),
        (stacked(levels(), levels(9), levels(40)), "a coloured image"),
    ],
)
def test_more_than_two_levels_need_a_choice(load, picture, match):
    picture = picture if isinstance(picture, Image.Image) else picture.astype(np.uint8)
    with pytest.raises(AnnotationRefused, match=match):
        load(picture)


def test_jpeg_masks_need_a_threshold(load):
    picture = encoded(levels(), "JPEG", quality=60)
    with pytest.raises(AnnotationRefused, match="grey levels"):
        load(picture)
    assert (load(picture, mask_value=">127")[0].mask ^ DISC).sum() < 10


def test_ids_may_be_chosen_and_255_is_void(load):
    ids = np.where(DISC, 3, 0).astype(np.uint8)
    ids[:4] = 255
    ids[30:] = 8
    truth, opened = load(ids, mask_value=3)
    np.testing.assert_array_equal(truth.mask, DISC & (ids == 3))
    np.testing.assert_array_equal(truth.ignore, ids == 255)
    assert opened.notes() == ["200 void pixels (level 255) ignored"]
    assert load(ids, mask_value="0")[0].mask.sum() == (ids == 0).sum()


def test_colours_and_alpha_may_be_chosen(load):
    red = stacked(levels(200, 10), levels(10, 10), levels(30, 30), levels())
    np.testing.assert_array_equal(load(red, mask_value="#C80A1E")[0].mask, DISC)
    np.testing.assert_array_equal(load(red, mask_value="alpha")[0].mask, DISC)
    grey = levels(200)
    np.testing.assert_array_equal(load(grey, mask_value="#c8c8c8")[0].mask, DISC)
    assert not load(grey, mask_value="#c8c8c9")[0].mask.any()
    with pytest.raises(AnnotationRefused, match=r"a\.png: no alpha channel"):
        load(grey, mask_value="alpha")


def test_thresholds_are_strict_and_keep_the_soft_alpha(load):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    truth, _ = load(ramp, mask_value=">127")
    assert truth.mask.sum() == 4 * 128
    assert truth.alpha == pytest.approx(ramp / 255)
    assert load(ramp, mask_value=">0.9")[0].mask.sum() == 4 * (ramp[0] / 255 > 0.9).sum()
    assert load(ramp, mask_value="soft")[0].mask.sum() == 4 * 128
    fine = (np.arange(4096, dtype=np.uint16) * 16).reshape(64, 64)
    truth, _ = load(fine, mask_value=">0.5")
    assert truth.alpha == pytest.approx(np.arange(4096).reshape(64, 64) * 16 / 65535)


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


MAP = "background:0,0,0::\ncar:61,245,61::\n"


@pytest.fixture
def classes(saved):
    """Opens CVAT's segmentation masks: the square in one colour, a corner in another."""

    def call(label_map, extra):
        planes = np.where(SQUARE[:, :, None], (61, 245, 61), 0).astype(np.uint8)
        planes[15:, 20:] = extra
        return saved(t={"labelmap.txt": label_map, "SegmentationClass/a.png": planes}) / "t"

    return call


def test_classes_are_chosen_by_name(classes):
    path = classes(f"{MAP}dog:9,9,9::\n", (9, 9, 9))
    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        load_annotations(path)
    np.testing.assert_array_equal(load_annotations(path, category="car")[0].load().mask, SQUARE)
    assert load_annotations(path, category="dog")[0].load().mask.sum() == 50
    assert load_annotations(path, category="*")[0].load().mask.sum() == 35 + 50


def test_unnamed_colours_are_counted_and_a_zip_is_a_folder(classes, tmp_path):
    path = classes(MAP, (1, 2, 3))
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
