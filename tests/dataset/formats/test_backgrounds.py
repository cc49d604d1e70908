import hashlib
import os
import re
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.dataset.formats.backgrounds import (
    backgrounds_of,
    composite_rgb,
    foreground_rgb,
    refuse_among_backgrounds,
)
from l4f_datagen.recipe import OutputPart


def open_backgrounds(folder):
    return backgrounds_of(OutputPart(composites="folder", composites_folder=str(folder)))


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
    assert backgrounds_of(OutputPart()) is None
    wanted = OutputPart(composites="folder", composites_folder=str(pictures))
    backgrounds, again = open_backgrounds(pictures), backgrounds_of(wanted)
    assert backgrounds.names == ("a.png", "b.JPG", "more/c.webp")
    found = Counter()
    for number in range(90):
        picture = backgrounds.image(f"key{number}", (16, 24))
        assert (picture.shape, picture.dtype) == ((16, 24, 3), np.uint8)
        found[tuple(picture[8, 8].tolist())] += 1
        # The key alone decides.
        np.testing.assert_array_equal(again.image(f"key{number}", (16, 24)), picture)
    assert set(found) == {(200, 0, 0), (120, 120, 120), (0, 0, 200)}
    assert min(found.values()) > 15


def test_the_digest_is_a_list_of_files_whatever_their_names(pictures):
    names = [b"a.png", b"b.JPG", b"more/c.webp", b"more/\xff \xc3\xa9.png"]
    paths = [pictures / os.fsdecode(name) for name in names]
    try:
        paths[-1].write_bytes(paths[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest().encode() for path in paths]
    lines = b"".join(d + b"  " + name + b"\n" for d, name in zip(digests, names, strict=True))
    opened = open_backgrounds(pictures)
    assert opened.sha256 == hashlib.sha256(lines).hexdigest()
    assert [os.fsencode(name) for name in opened.names] == names


def test_scaling_keeps_the_shape_of_things(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 13:27] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = open_backgrounds(tmp_path).image("k", (20, 20))  # the square in the middle, twice
    assert picture.min() > 250


def test_kinds_are_told_by_content_and_phones_pairs_are_read(tmp_path):
    left, right = (Image.new("RGB", (8, 8), colour) for colour in ((0, 90, 0), (90, 0, 0)))
    left.save(tmp_path / "pair.jpg", "MPO", save_all=True, append_images=[right])
    left.save(tmp_path / "really.jpg", "PNG")
    backgrounds = open_backgrounds(tmp_path)
    for number in range(4):
        colour = backgrounds.image(f"key{number}", (8, 8))[4, 4].astype(int)
        assert np.abs(colour - (0, 90, 0)).max() <= 3


@pytest.mark.parametrize("kind", ["TIFF", "JPEG2000", "GIF", "DDS", "TGA"])
def test_no_picture_and_other_kinds_are_refused_under_any_name(tmp_path, kind):
    with pytest.raises(InputRefused, match=r"nowhere: is not a folder; name a folder of"):
        open_backgrounds(tmp_path / "nowhere")
    with pytest.raises(InputRefused, match=r"contains no image \(.bmp .jpeg .jpg .png .webp\)"):
        open_backgrounds(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png", kind)
    with pytest.raises(InputRefused, match=r"other.png: is not a readable image \(known are P"):
        open_backgrounds(tmp_path)


def test_a_broken_picture_is_named_at_the_door_and_later(pictures):
    backgrounds = open_backgrounds(pictures)
    for name in backgrounds.names:
        (pictures / name).write_bytes((pictures / name).read_bytes()[:-30])
    words = r"pictures/a.png: is damaged \(image file is truncated.*; remove or replace it$"
    with pytest.raises(InputRefused, match=words) as told:
        open_backgrounds(pictures)
    assert told.value.exit_code == 4
    with pytest.raises(InputRefused, match="is damaged"):
        backgrounds.image("key", (8, 8))


@pytest.mark.filterwarnings("always")  # as Python has it for scripts, and pytest has not
def test_pillow_says_nothing_of_its_own(tmp_path, capsys):
    monochrome = Image.new("1", (9_500, 9_500))  # beyond what Pillow warns of
    monochrome.save(tmp_path / "large.png")
    with pytest.raises(InputRefused, match="is 9500 x 9500 pixels, at most 64 MP are"):
        open_backgrounds(tmp_path)
    palette = Image.new("P", (4, 4))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.save(tmp_path / "large.png", transparency=b"\x00\x80")
    with warnings.catch_warnings(record=True) as shown:
        picture = open_backgrounds(tmp_path).image("k", (4, 4))
    assert (picture == 0).all()  # what is transparent is shown on black
    assert shown == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", ["pictures", "pictures/out", "pictures/a/../more/out", "link/x"])
@pytest.mark.parametrize("beside", ["out", "pictures2", "pictures/../out", "back/out", "."])
def test_a_dataset_does_not_become_its_own_background(pictures, tmp_path, place, beside):
    (tmp_path / "link").symlink_to(pictures / "more")
    (tmp_path / "back").symlink_to(tmp_path)
    output = OutputPart(composites="folder", composites_folder=str(pictures))
    refuse_among_backgrounds(output, tmp_path / beside)
    refuse_among_backgrounds(OutputPart(), tmp_path / place)
    words = f"{tmp_path / place}: is inside the folder of backgrounds {pictures}: its images would "
    with pytest.raises(UsageError, match=re.escape(f"{words}become backgrounds; choose a folder")):
        refuse_among_backgrounds(output, tmp_path / place)


def test_a_composite_mixes_by_the_soft_matte(discs):
    sample = discs.make_disc(1)
    background = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    alpha = sample.alpha.astype(np.float64)[:, :, None]
    exact = alpha * foreground_rgb(sample.image, sample.alpha) + (1 - alpha) * background
    mixed = composite_rgb(sample, background)
    assert mixed.dtype == np.uint8
    assert np.abs(mixed - exact).max() <= 0.5 + 1e-4
    assert ((alpha > 0) & (alpha < 1)).sum() > 0


@pytest.mark.parametrize(
    "background", [np.zeros((16, 15, 3), np.uint8), np.zeros((16, 16, 3), np.float32)]
)
def test_other_backgrounds_are_refused(discs, background):
    with pytest.raises(ValueError, match=r"seed0000001: expected background uint8 \(16, 16, 3\), "):
        composite_rgb(discs.make_disc(1), background)


def known_composite(side):
    """Object and background of slowly changing colours, soft alpha of a disc, and their mix."""
    y, x = np.mgrid[:side, :side] / side
    distance = np.hypot(x - 0.5, y - 0.5)
    alpha = np.clip((0.3 - distance) * 16, 0, 1).astype(np.float32)
    true = np.dstack([200 + 40 * x, 60 + 60 * y, 30 + 20 * x])
    ground = np.dstack([30 + 60 * y, 150 + 60 * x, 120 + 60 * y])
    image = np.rint(alpha[..., None] * true + (1 - alpha[..., None]) * ground).astype(np.uint8)
    return image, alpha, true


@pytest.mark.parametrize("side", [64, 256])
def test_the_error_of_colours_falls_where_object_and_background_mix(side):
    image, alpha, true = known_composite(side)
    found = foreground_rgb(image, alpha)
    assert (found.shape, found.dtype) == ((side, side, 3), np.uint8)
    mixed = (alpha > 0.05) & (alpha < 0.95)
    before = np.abs(image[mixed] - true[mixed]).mean()
    assert np.abs(found[mixed] - true[mixed]).mean() < before / 20
    # Over black: what a viewer sees as a rim.
    weight = alpha[mixed][:, None]
    assert np.abs(weight * (found[mixed] - true[mixed])).max() < 12
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])
    for level in (0.0, 1.0):  # an empty and a full matte keep the image
        np.testing.assert_array_equal(foreground_rgb(image, np.full_like(alpha, level)), image)
