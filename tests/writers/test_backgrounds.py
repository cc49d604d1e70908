from collections import Counter

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.errors import InputRefused
from l4f_datagen.recipe import OutputPart
from l4f_datagen.writers.backgrounds import backgrounds_of, open_backgrounds


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of one colour each, of other sizes and kinds than a sample."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    Image.new("RGB", (40, 20), (200, 0, 0)).save(folder / "a.png")
    Image.new("L", (5, 9), 120).save(folder / "b.JPG", "JPEG")
    Image.new("RGBA", (16, 16), (0, 0, 200, 255)).save(folder / "more/c.webp", lossless=True)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_are_found_scaled_and_cropped(pictures):
    backgrounds = open_backgrounds(pictures)
    assert backgrounds.names == ("a.png", "b.JPG", "more/c.webp")
    found = Counter()
    for number in range(90):
        picture = backgrounds.picture(f"key{number}", (16, 24))
        assert (picture.shape, picture.dtype) == ((16, 24, 3), np.uint8)
        found[tuple(picture[8, 8].tolist())] += 1
    assert set(found) == {(200, 0, 0), (120, 120, 120), (0, 0, 200)}
    assert min(found.values()) > 15


def test_the_choice_hangs_on_the_key_alone(pictures):
    first, again = open_backgrounds(pictures), open_backgrounds(pictures)
    for key in ("psi0700-seed0000001", "psi0700-seed0000002"):
        one, other = first.picture(key, (8, 8)), again.picture(key, (8, 8))
        np.testing.assert_array_equal(one, other)


def test_scaling_keeps_the_shape_of_things(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 13:27] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = open_backgrounds(tmp_path).picture("k", (20, 20))  # the square in the middle, twice
    assert picture.min() > 250


def test_the_digest_stands_for_names_and_contents(pictures, tmp_path):
    before = open_backgrounds(pictures).sha256
    pictures.rename(tmp_path / "elsewhere")
    assert open_backgrounds(tmp_path / "elsewhere").sha256 == before
    Image.new("RGB", (40, 20), (201, 0, 0)).save(tmp_path / "elsewhere/a.png")
    changed = open_backgrounds(tmp_path / "elsewhere").sha256
    (tmp_path / "elsewhere/a.png").rename(tmp_path / "elsewhere/d.png")
    assert len({before, changed, open_backgrounds(tmp_path / "elsewhere").sha256}) == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def garble(path):
    path.write_bytes(b"this is no picture")


@pytest.mark.parametrize("spoil", [cut, garble])
def test_a_broken_picture_is_named_at_the_door(pictures, spoil):
    spoil(pictures / "a.png")
    with pytest.raises(InputRefused, match=r"pictures/a.png: is not a readable picture \(") as told:
        open_backgrounds(pictures)
    assert told.value.exit_code == 4
    assert str(told.value).endswith("; remove or replace it")


def test_one_that_breaks_later_is_named_too(pictures):
    backgrounds = open_backgrounds(pictures)
    for name in backgrounds.names:
        cut(pictures / name)
    with pytest.raises(InputRefused, match="is not a readable picture"):
        backgrounds.picture("key", (8, 8))


@pytest.mark.parametrize(
    ("limit", "match"), [(100, "a.png: is 40 x 20 pixels, at most 64 MP; shrink it")]
)
def test_size_is_bounded_before_memory_is_taken(pictures, monkeypatch, limit, match):
    monkeypatch.setattr("l4f_datagen.writers.backgrounds.MAX_PIXELS", limit)
    with pytest.raises(InputRefused, match=match):
        open_backgrounds(pictures)


def test_a_decompression_bomb(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputRefused, match=r"a.png: is far beyond 64 megapixels; shrink it"):
        open_backgrounds(pictures)


def test_folders_without_pictures(tmp_path):
    with pytest.raises(InputRefused, match=r"nowhere: is no folder; name a folder of background"):
        open_backgrounds(tmp_path / "nowhere")
    with pytest.raises(InputRefused, match=r"holds no picture \(.bmp .jpeg .jpg .png .webp\)"):
        open_backgrounds(tmp_path)


def test_only_the_recipe_that_asks_opens_a_folder(pictures):
    assert backgrounds_of(OutputPart()) is None
    wanted = OutputPart(composites="folder", composites_folder=str(pictures))
    assert backgrounds_of(wanted).folder == pictures


def test_a_dataset_over_own_pictures(discs, pictures, tmp_path):
    backgrounds = open_backgrounds(pictures)
    output = {"composites": "folder", "composites_folder": str(pictures)}
    folder = tmp_path / "out"
    discs.make_dataset(folder, 5, formats=["png"], output=output, backgrounds=backgrounds)
    for disc in discs.accepted_discs(5):
        with Image.open(folder / f"composites/{disc.seed // 8:05d}/{disc.key}.png") as composite:
            pixels = np.asarray(composite)
        outside = disc.alpha == 0
        wanted = backgrounds.picture(disc.key, (16, 16))
        np.testing.assert_array_equal(pixels[outside], wanted[outside])
        np.testing.assert_array_equal(pixels[disc.alpha == 1], disc.image[disc.alpha == 1])
