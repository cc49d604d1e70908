import zipfile

import numpy as np
import pytest
from annotation_exports import SQUARE, cvat, cvat_mask, cvat_polygon

from l4f_datagen.annotations import load_annotations
from l4f_datagen.annotations.xml_files import parse_xml
from l4f_datagen.core.errors import AnnotationRefused

POLYGON = cvat_polygon()


def opened(tmp_path, text, **options):
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    return load_annotations(path, **options)


def test_masks_run_along_the_rows_of_their_box(tmp_path):
    crop = np.random.RandomState(0).rand(7, 11) < 0.4
    crop[0, 0] = True  # the first run is then 0 long
    expected = np.zeros((20, 30), bool)
    expected[5:12, 4:15] = crop
    truth = opened(tmp_path, cvat(cvat_mask(crop, 4, 5)))
    np.testing.assert_array_equal(truth[0].load().mask, expected)
    cut = opened(tmp_path, cvat(cvat_mask(np.ones((8, 8), bool), 25, 13)))
    assert cut[0].load().mask.sum() == 7 * 5
    assert cut.notes() == ["1 masks cut at the image border"]


def test_ellipses_and_rotated_boxes(tmp_path):
    ellipse = '<ellipse label="car" cx="15" cy="10" rx="8" ry="4" rotation="90"/>'
    loaded = opened(tmp_path, cvat(ellipse))[0].load()
    rows, columns = np.mgrid[:20, :30] + 0.5
    expected = ((columns - 15) / 4) ** 2 + ((rows - 10) / 8) ** 2 < 1
    assert (loaded.mask ^ expected).sum() <= 0.1 * expected.sum()
    box = '<box label="car" xtl="10" ytl="8" xbr="20" ybr="12" rotation="90"/>'
    turned = opened(tmp_path, cvat(box), boxes="fill")[0].load()
    expected = np.zeros((20, 30), bool)
    expected[5:15, 13:17] = True  # about its centre
    np.testing.assert_array_equal(turned.mask, expected)


def test_images_without_shapes_and_points(tmp_path):
    other = '<image id="1" name="b.jpg" width="5" height="4"></image>'
    points = '<points label="nose" points="1,1"/><tag label="x"/>'
    truth = opened(tmp_path, cvat(POLYGON, points, more=other), unannotated="empty")
    assert not truth[1].load().mask.any()
    assert truth.notes()[0] == "1 points, lines or other objects without an area skipped"


def test_the_xml_is_found_in_its_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("annotations.xml", cvat(POLYGON))
        archive.writestr("images/a.jpg", b"jpeg")
    truth = load_annotations(tmp_path / "t.zip")
    assert (truth.format, truth[0].name, truth[0].size_hw) == ("cvat", "a.jpg", (20, 30))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]>
<annotations><image name="&lol2;" width="3" height="3"/></annotations>"""
OUTSIDE = """<?xml version="1.0"?>
<!DOCTYPE annotations SYSTEM "file:///etc/passwd">
<annotations><image name="a" width="3" height="3"/></annotations>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, BOMB.lower(), "<!ENTITY x 'y'><annotations/>"])
def test_document_types_and_entities_are_refused(tmp_path, text):
    with pytest.raises(AnnotationRefused, match=r"XML with <!.*a document type may be a bomb"):
        opened(tmp_path, text)


def test_other_encodings_do_not_smuggle_a_document_type(tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_bytes(BOMB.replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"))
    with pytest.raises(AnnotationRefused, match="UTF-16 text; save the file as UTF-8"):
        load_annotations(path, format="cvat")


def test_deep_nesting_is_survived():
    assert parse_xml("<a>" * 200_000 + "</a>" * 200_000, "f").tag == "a"


MASK = '<mask label="car" rle="{rle}" left="{left}" top="0" width="2" height="2"/>'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (cvat(POLYGON)[:-5], "broken XML"),
        ("<?xml version='1.0'?><root/>", "XML of 'root'"),
        (cvat(more="<track/>"), "tracks of a video"),
        (cvat(image='name="a" width="30"'), "image a: height ''"),
        (cvat(image='name="../a" width="3" height="3"'), "leads out of its folder"),
        (cvat(POLYGON.replace('label="car"', "")), "polygon 1: no label"),
        (cvat('<polygon label="car" points="1,1;2,2"/>'), "polygon 1: a polygon of 2"),
        (cvat('<polygon label="car" points="1,1;2,x"/>'), "points '1,1;2,x'"),
        (cvat(MASK.format(rle="1, 2", left=0)), "cover 3"),
        (cvat(MASK.format(rle="4", left=90)), "outside"),
        (cvat(POLYGON, more='<image name="a.jpg" width="30" height="20"/>'), "is listed twice"),
    ],
)
def test_broken_documents_are_named(tmp_path, text, match):
    with pytest.raises(AnnotationRefused, match=match) as caught:
        [item.load() for item in opened(tmp_path, text, format="cvat")]
    assert str(caught.value).startswith(str(tmp_path / "annotations.xml"))
    assert "\n" not in str(caught.value)


def test_fixtures(fixtures):
    folder = fixtures / "panlabel"
    for name in ("sample_valid", "sample_no_meta", "sample_with_meta"):
        with pytest.raises(AnnotationRefused, match="boxes or points only"):
            load_annotations(folder / f"{name}.cvat.xml")
        filled = load_annotations(folder / f"{name}.cvat.xml", boxes="fill", category="*")
        assert filled.format == "cvat"
    boxes = load_annotations(folder / "sample_no_meta.cvat.xml", boxes="fill", category="cat")
    assert [item.load().mask.sum() for item in boxes] == [40 * 50, 0]
    with pytest.raises(AnnotationRefused, match=r"img\.jpg polygon 1: a polygon of 2 distinct"):
        load_annotations(folder / "sample_invalid_polygon.cvat.xml")[0].load()
