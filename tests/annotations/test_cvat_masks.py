import zipfile

import numpy as np
import pytest

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.png import parse_label_map
from l4f_datagen.core.errors import AnnotationRefused

LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:61,245,61::\n"


def colours(square, *, extra=None):
    planes = np.zeros((20, 30, 3), np.uint8)
    planes[square] = (61, 245, 61)
    if extra is not None:
        planes[15:, 20:] = extra
    return planes


def export(path, picture, label_map=LABEL_MAP):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", label_map)
        archive.writestr("SegmentationClass/a.png", picture)
        archive.writestr("SegmentationObject/a.png", picture)
        archive.writestr("ImageSets/Segmentation/default.txt", "a\n")
    return path


def test_the_one_class_is_the_object(tmp_path, square, as_png):
    path = export(tmp_path / "t.zip", as_png(colours(square)))
    truth = load_annotations(path)
    assert truth.format == "cvat-masks"
    assert [item.stem for item in truth] == ["a"]
    np.testing.assert_array_equal(truth[0].load().mask, square)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    folder = load_annotations(tmp_path / "folder")
    np.testing.assert_array_equal(folder[0].load().mask, square)


def test_categories_are_chosen_by_name(tmp_path, square, as_png):
    label_map = LABEL_MAP + "dog:9,9,9::\n"
    path = export(tmp_path / "t.zip", as_png(colours(square, extra=(9, 9, 9))), label_map)
    with pytest.raises(AnnotationRefused, match=r"2 categories and no choice; .*'car', 'dog'"):
        load_annotations(path)
    np.testing.assert_array_equal(load_annotations(path, category="car")[0].load().mask, square)
    assert load_annotations(path, category="dog")[0].load().mask.sum() == 50
    assert load_annotations(path, category="*")[0].load().mask.sum() == 35 + 50
    with pytest.raises(AnnotationRefused, match="no object of category 'cat'"):
        load_annotations(path, category="cat")


def test_mask_values_are_refused(tmp_path, square, as_png):
    path = export(tmp_path / "t.zip", as_png(colours(square)))
    with pytest.raises(AnnotationRefused, match="holds objects, not levels; give --category"):
        load_annotations(path, mask_value="1")


def test_unnamed_colours_are_counted(tmp_path, square, as_png):
    path = export(tmp_path / "t.zip", as_png(colours(square, extra=(1, 2, 3))))
    truth = load_annotations(path)
    np.testing.assert_array_equal(truth[0].load().mask, square)
    assert truth.notes()[0].startswith("50 pixels of a colour the label map does not name")


def test_grey_pictures_are_colours_too(tmp_path, square, as_png):
    path = export(tmp_path / "t.zip", as_png(square), "background:0,0,0::\ncar:255,255,255::\n")
    np.testing.assert_array_equal(load_annotations(path)[0].load().mask, square)


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


def test_broken_pictures_are_named(tmp_path, square, as_png):
    path = export(tmp_path / "t.zip", as_png(colours(square))[:60])
    with pytest.raises(AnnotationRefused, match=r"t\.zip/SegmentationClass/a\.png: is damaged"):
        load_annotations(path)[0].load()
