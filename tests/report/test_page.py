"""What stands in a page: templates filled in, and samples read back and encoded for it."""

import re

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image, ImageDraw

from l4f_datagen.report import page
from l4f_datagen.report.page import (
    Stored,
    encode_tile,
    number,
    outline_path,
    read_images,
    render_page,
    share,
)
from l4f_datagen.report.records import read_records


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


def wanted(made, *, rejected=False):
    records = read_records(made.folder)
    places = np.flatnonzero(~records.accepted if rejected else records.accepted)
    return {records.key(i): (int(records.shard[i]), not rejected) for i in places}


def found(made, *, rejected=False):
    return dict(read_images(made.folder, wanted(made, rejected=rejected)))


def discs_of(made):
    blocks = (block for marker in made.markers for block in made.blocks(marker.shard))
    return {disc.key: disc for block in blocks for disc in block}


@pytest.mark.parametrize("formats", [["png"], ["hf"], ["imagefolder"], ["webdataset"]])
def test_every_format_gives_the_same_pictures(disc_dataset, formats):
    made = disc_dataset(12, formats=formats)
    images, discs = found(made), discs_of(made)
    assert set(images) == set(wanted(made)) <= {k for k, d in discs.items() if d.reason is None}
    for key, stored in images.items():
        assert np.array_equal(stored.image, discs[key].image)
        assert np.array_equal(stored.alpha, np.rint(discs[key].alpha * 255))
        assert np.array_equal(stored.mask, discs[key].mask)
        parts = {"image", "mask", "alpha"} if formats[0] in ("png", "imagefolder") else set()
        assert set(stored.files) == parts
        assert all((made.folder / path).is_file() for path in stored.files.values())


def test_rejected_ones_are_found_where_they_were_kept(disc_dataset):
    made = disc_dataset(24, keep_rejected=True)
    images, discs = found(made, rejected=True), discs_of(made)
    assert set(images) == set(wanted(made, rejected=True)) != set()
    assert all(np.array_equal(images[key].mask, discs[key].mask) for key in images)
    assert not found(disc_dataset(24, name="plain"), rejected=True)


def test_alpha_of_16_bits_is_rounded_to_8(disc_dataset):
    made = disc_dataset(1)
    [(key, (shard, _))] = wanted(made).items()
    levels = np.array([[0, 128, 129], [257, 65535, 32767]], np.uint16)
    black = np.zeros((2, 3), np.uint8)
    pictures = {"alpha": levels, "images": np.stack([black] * 3, axis=2), "masks": black}
    for part, pixels in pictures.items():
        Image.fromarray(pixels).save(made.folder / part / f"{shard:05d}" / f"{key}.png")
    assert found(made)[key].alpha.tolist() == [[0, 0, 1], [1, 255, 127]]


@pytest.mark.parametrize("damage", ["gone", "cut", "other size", "grey", "huge", "many pixels"])
def test_what_cannot_be_read_is_left_out(disc_dataset, monkeypatch, damage):
    made = disc_dataset(3)
    keys = list(wanted(made))
    image = made.folder / "images" / "00000" / f"{keys[0]}.png"
    if damage == "gone":
        image.unlink()
    elif damage == "cut":
        image.write_bytes(image.read_bytes()[:60])
    elif damage in ("huge", "many pixels"):
        limit = "MAX_FILE_BYTES" if damage == "huge" else "MAX_PIXELS"
        monkeypatch.setattr(page, limit, 1)
        keys = []
    else:
        size = (16, 16) if damage == "grey" else (8, 8, 3)
        Image.fromarray(np.zeros(size, np.uint8)).save(image)
    assert set(found(made)) == set(keys[1:])


def test_a_damaged_parquet_file_is_passed_over(disc_dataset):
    made = disc_dataset(12, formats=["hf"])
    (made.folder / "data" / "train-00000.parquet").write_bytes(b"PAR1 not")
    rest = {key for key, (shard, _) in wanted(made).items() if shard > 0}
    assert set(found(made)) == rest != set()
