import pytest

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.core.sample import order_formats
from l4f_datagen.recipe import check_recipe


def test_names_come_in_the_order_of_the_table_each_once():
    assert order_formats(["hf", "coco", "png", "hf"]) == ("png", "coco", "hf")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([], "expected at least one format of png, coco, hf, "),
        (["png", "cocoa"], "'cocoa' is not a format, did you mean coco[?] known are png, coco"),
        (["zzz"], "'zzz' is not a format; known are png, coco"),
        (["coco", "hf"], "coco lists files that png writes, add png"),
    ],
)
def test_impossible_formats(names, match):
    with pytest.raises(ValueError, match=match):
        order_formats(names)


@pytest.mark.parametrize(
    ("output", "match"),
    [
        ({"formats": ["cocoa"]}, r"output.formats: 'cocoa' is not a format, did you mean coco\?"),
        ({"formats": ["coco"]}, "output.formats: coco lists files that png writes, add png"),
        ({"formats": ["hf"], "cutouts": True}, "output: cutouts are written by png, add png to f"),
        (
            {"formats": ["yolo"], "composites": "generated"},
            "output: composites are written by png, add png to formats",
        ),
        ({"composites": "folder"}, "output: composites: folder and composites_folder go together"),
        ({"composites_folder": "x"}, "composites: folder and composites_folder go together"),
        ({"image_format": "tiff"}, "output.image_format: input should be 'png', 'webp' or 'jpeg'"),
        ({"coco_segmentation": "rles"}, "coco_segmentation: input should be 'rle' or 'polygon'"),
        ({"instances": "all"}, "output.instances: input should be 'image' or 'components'"),
        ({"alpha_bits": 12}, "output.alpha_bits: input should be 8 or 16, got 12"),
    ],
)
def test_the_recipe_refuses_them_at_the_door(output, match):
    with pytest.raises(RecipeError, match=match):
        check_recipe({"domain": "x", "output": output}, "my.yaml")
