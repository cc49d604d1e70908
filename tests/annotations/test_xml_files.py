import zipfile

import numpy as np
from annotation_exports import SQUARE, cvat, cvat_mask, cvat_polygon

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.xml_files import parse_xml


def test_masks_run_along_the_rows_of_their_box(opened):
    crop = np.random.RandomState(0).rand(7, 11) < 0.4
    crop[0, 0] = True  # the first run is then 0 long
    expected = np.zeros((20, 30), bool)
    expected[5:12, 4:15] = crop
    truth = opened(cvat(cvat_mask(crop, 4, 5)), "t.xml")
    np.testing.assert_array_equal(truth[0].load().mask, expected)
    cut = opened(cvat(cvat_mask(np.ones((8, 8), bool), 25, 13)), "t.xml")
    assert cut[0].load().mask.sum() == 7 * 5
    assert cut.notes() == ["1 masks cut at the image border"]


def test_ellipses_and_rotated_boxes(opened):
    ellipse = '<ellipse label="car" cx="15" cy="10" rx="8" ry="4" rotation="90"/>'
    loaded = opened(cvat(ellipse), "t.xml")[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = ((columns - 15) / 4) ** 2 + ((rows - 10) / 8) ** 2 < 1
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = '<box label="car" xtl="10" ytl="8" xbr="20" ybr="12" rotation="90"/>'
    turned = opened(cvat(box), "t.xml", boxes="fill")[0].load()
    expected = np.zeros((20, 30), bool)
    expected[5:15, 13:17] = True  # about its centre
    np.testing.assert_array_equal(turned.mask, expected)


def test_points_are_no_objects_and_the_xml_is_found_in_its_zip(tmp_path):
    points = '<points label="nose" points="1,1"/><tag label="x"/>'
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("annotations.xml", cvat(cvat_polygon(), points))
        archive.writestr("images/a.jpg", b"jpeg")
    truth = load_annotations(tmp_path / "t.zip")
    assert (truth.format, truth[0].name, truth[0].size_hw) == ("cvat", "a.jpg", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
    assert truth.notes() == ["1 points, lines or other objects without an area skipped"]


def test_pascal_voc_boxes(opened):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (2, 3, 9, 8), strict=True)
    bounds = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    size = "<size><width>30</width><height>20</height></size>"
    one = f"<object><name>car</name><bndbox>{bounds}</bndbox></object>"
    text = f"<annotation><filename>a.jpg</filename>{size}{one}</annotation>"
    truth = opened(text, "t.xml", boxes="fill")
    assert (truth.format, truth[0].size_hw) == ("labelme-xml", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)


def test_deep_nesting_is_survived():
    assert parse_xml("<a>" * 200_000 + "</a>" * 200_000, "f").tag == "a"
