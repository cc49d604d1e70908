import json

import pytest

from l4f_datagen.annotations import READERS, load_annotations
from l4f_datagen.core.errors import AnnotationRefused

FOREIGN = ("ibm_cloud_annotations", "scale_ai", "superannotate", "unity_perception", "vott")


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_nobody_reads_are_refused_with_the_list(fixtures, name):
    with pytest.raises(AnnotationRefused, match="no known annotation format; known are labelbox"):
        load_annotations(fixtures / "panlabel" / f"sample_valid.{name}.json")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"hello", "no known annotation format"),
        (b"{}", "no known annotation format"),
        (b"[]", "no known annotation format"),
        (b"[3]", "no known annotation format"),
        (b'{"a": ', r"not JSON \(line 1"),
        (b"\xff\xfe{\x00}\x00", "UTF-16 text; save the file as UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_files_that_are_none(tmp_path, content, match):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(AnnotationRefused, match=match):
        load_annotations(tmp_path / "x.json")


def test_the_format_may_be_given(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"images": []}))
    with pytest.raises(AnnotationRefused, match="annotation format 'voc': unknown; choose from"):
        load_annotations(tmp_path / "x.json", format="voc")
    for name in READERS:
        with pytest.raises(AnnotationRefused):
            [item.load() for item in load_annotations(tmp_path / "x.json", format=name)]
