import pytest

from l4f_datagen.errors import UsageError
from l4f_datagen.writers import WRITERS, check_formats


def test_formats_come_in_the_order_of_the_table_each_once():
    assert check_formats(["hf", "coco", "png", "hf"]) == ("png", "coco", "hf")


@pytest.mark.parametrize(
    ("formats", "match"),
    [
        ([], "formats: expected at least one, got none; choose from png, coco, hf"),
        (["png", "cocoa"], "formats: 'cocoa' is not known; choose from png, coco, hf"),
        (["coco", "hf"], "formats: coco lists files that png writes; add png"),
    ],
)
def test_impossible_formats(formats, match):
    with pytest.raises(UsageError, match=match):
        check_formats(formats)


def test_no_two_formats_share_a_place_or_an_index():
    places = [place for writer in WRITERS.values() for place in writer.places]
    indexes = [name for writer in WRITERS.values() for name in writer.indexes]
    assert len(set(places)) == len(places) > 3
    assert len(set(indexes)) == len(indexes) >= 1
