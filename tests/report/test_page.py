"""What stands in a page: templates filled in, and samples encoded for it."""

import re

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image, ImageDraw

from l4f_datagen.report import page
from l4f_datagen.report.page import encode_tile, number, outline_path, render_page, share
from l4f_datagen.report.stored_images import Stored


def painted(path, shape):
    """Fill a path of relative h and v steps by the even-odd rule, with Pillow."""
    mask = np.zeros(shape, bool)
    for ring in path.split("M")[1:]:
        x, y = map(int, re.match(r"(\d+) (\d+)", ring).groups())
        corners = [(x, y)]
        for axis, step in re.findall(r"([hv])(-?\d+)", ring):
            x, y = (x + int(step), y) if axis == "h" else (x, y + int(step))
            corners.append((x, y))
        # Corner (x, y) is the top left of pixel (x, y): on a grid of twice the size the pixel's
        # centre is odd, so no edge runs through it.
        plane = Image.new("1", (2 * shape[1] + 1, 2 * shape[0] + 1))
        ImageDraw.Draw(plane).polygon([(2 * a, 2 * b) for a, b in corners], fill=1)
        mask ^= np.asarray(plane)[1::2, 1::2]
    return mask


def test_an_outline_bounds_exactly_the_mask_with_holes_and_parts():
    mask = np.zeros((20, 30), bool)
    mask[2:12, 3:20] = mask[15:18, 22:29] = True
    mask[5:8, 6:9] = False
    for exact in (mask, np.random.RandomState(3).rand(16, 17) < 0.5):
        cell, path = outline_path(exact)
        assert cell == 1
        assert np.array_equal(painted(path, exact.shape), exact)
    assert outline_path(np.zeros((4, 4), bool)) == (1, "")


def test_a_ragged_outline_is_coarsened_until_it_fits(monkeypatch):
    monkeypatch.setattr(page, "MAX_PATH_CHARACTERS", 300)
    mask = np.random.RandomState(0).rand(31, 33) < 0.2
    cell, path = outline_path(mask)
    assert cell > 1
    assert len(path) <= 300
    steps = [int(step) for step in re.findall(r"[hv](-?\d+)", path)]
    assert all(step % cell == 0 for step in steps)


def stored(height, width):
    rng = np.random.RandomState(0)
    alpha = rng.randint(0, 256, (height, width)).astype(np.uint8)
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    return Stored(image, alpha, alpha > 127, {})


def test_small_pictures_keep_every_level_and_tiles_are_the_same_again(decode_webp):
    sample = stored(20, 30)
    tile = encode_tile(sample)
    assert np.array_equal(decode_webp(tile["image"]), sample.image)
    assert np.array_equal(decode_webp(tile["alpha"])[..., 3], sample.alpha)
    assert (tile["width"], tile["height"]) == (30, 20)
    assert encode_tile(stored(20, 30)) == tile
    assert encode_tile(stored(300, 200)) == encode_tile(stored(300, 200))


def test_large_pictures_are_scaled_down_and_close(decode_webp):
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    alpha = np.repeat(ramp[None], 768, axis=0)
    tile = encode_tile(Stored(np.repeat(alpha[..., None], 3, axis=2), alpha, alpha > 127, {}))
    assert (tile["width"], tile["height"]) == (1024, 768)
    image, matte = decode_webp(tile["image"]), decode_webp(tile["alpha"])[..., 3]
    assert image.shape == (384, 512, 3)
    assert np.abs(image[..., 0].astype(int) - alpha[::2, ::2]).max() < 12
    assert np.abs(matte.astype(int) - alpha[::2, ::2]).max() < 12


@pytest.mark.slow
def test_pictures_of_noise_cannot_break_the_bound():
    noise = np.random.RandomState(0).randint(0, 256, (512, 512, 3)).astype(np.uint8)
    tile = encode_tile(Stored(noise, noise[..., 0], noise[..., 0] > 127, {"image": "images/a.png"}))
    largest = sum(len(tile[part]) for part in ("image", "alpha", "outline"))
    assert largest < 1_000_000  # one more than fits is not taken: 17 MB + scores < 20 MB


def test_numbers_for_people_and_no_name_of_a_template_may_lack():
    assert [number(v) for v in (50000, 0.12345, 0.7)] == ["50,000", "0.123", "0.7"]
    assert [share(1, 3), share(0, 0)] == ["33.3 %", "none"]
    with pytest.raises(UndefinedError, match="'origin' is undefined"):
        render_page("report.html")
