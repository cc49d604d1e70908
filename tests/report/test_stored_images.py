"""Stored images: read back from every format, and encoded for a page."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from l4f_datagen.report import stored_images
from l4f_datagen.report.records import read_records
from l4f_datagen.report.stored_images import Stored, encode_tile, outline_path, read_images


def wanted(made, *, rejected=False):
    records = read_records(made.folder)
    places = np.flatnonzero(~records.accepted if rejected else records.accepted)
    return {records.key(i): (int(records.shard[i]), not rejected) for i in places}


def discs_of(made):
    blocks = (block for marker in made.markers for block in made.blocks(marker.shard))
    return {disc.key: disc for block in blocks for disc in block}


@pytest.mark.parametrize("formats", [["png"], ["hf"], ["imagefolder"], ["webdataset"]])
def test_every_format_gives_the_same_pictures(disc_dataset, formats):
    made = disc_dataset(12, formats=formats)
    asked = wanted(made)
    found = dict(read_images(made.folder, asked))
    assert set(found) == set(asked)
    for key, disc in discs_of(made).items():
        if disc.reason is None and key in found:
            assert np.array_equal(found[key].image, disc.image)
            assert np.array_equal(found[key].alpha, np.rint(disc.alpha * 255))
            assert np.array_equal(found[key].mask, disc.mask)


def test_files_are_named_where_a_sample_has_its_own(disc_dataset):
    made = disc_dataset(4)
    for _, stored in read_images(made.folder, wanted(made)):
        assert set(stored.files) == {"image", "mask", "alpha"}
        assert all((made.folder / path).is_file() for path in stored.files.values())
    made = disc_dataset(4, name="hf", formats=["hf"])
    assert [stored.files for _, stored in read_images(made.folder, wanted(made))] == [{}] * 4


def test_rejected_ones_are_found_where_they_were_kept(disc_dataset):
    made = disc_dataset(24, keep_rejected=True)
    asked = wanted(made, rejected=True)
    assert asked
    found = dict(read_images(made.folder, asked))
    discs = discs_of(made)
    assert set(found) == set(asked)
    assert all(np.array_equal(found[key].mask, discs[key].mask) for key in found)
    plain = disc_dataset(24, name="plain")
    assert not dict(read_images(plain.folder, wanted(plain, rejected=True)))


def test_alpha_of_16_bits_is_rounded_to_8(disc_dataset):
    made = disc_dataset(1)
    [(key, (shard, _))] = wanted(made).items()
    levels = np.array([[0, 128, 129], [257, 65535, 32767]], np.uint16)
    for part, pixels in (
        ("alpha", levels),
        ("images", np.zeros((2, 3, 3), np.uint8)),
        ("masks", np.zeros((2, 3), np.uint8)),
    ):
        Image.fromarray(pixels).save(made.folder / part / f"{shard:05d}" / f"{key}.png")
    [(_, stored)] = read_images(made.folder, wanted(made))
    assert stored.alpha.tolist() == [[0, 0, 1], [1, 255, 127]]


@pytest.mark.parametrize("damage", ["gone", "cut", "other size", "grey", "huge"])
def test_what_cannot_be_read_is_left_out(disc_dataset, monkeypatch, damage):
    made = disc_dataset(3)
    keys = list(asked := wanted(made))
    image = made.folder / "images" / "00000" / f"{keys[0]}.png"
    if damage == "gone":
        image.unlink()
    elif damage == "cut":
        image.write_bytes(image.read_bytes()[:60])
    elif damage == "huge":
        monkeypatch.setattr("l4f_datagen.report.stored_images.MAX_FILE_BYTES", 1)
    else:
        size = (16, 16) if damage == "grey" else (8, 8, 3)
        Image.fromarray(np.zeros(size, np.uint8)).save(image)
    left = set() if damage == "huge" else set(keys[1:])
    assert set(dict(read_images(made.folder, asked))) == left


def test_a_damaged_parquet_file_is_passed_over(disc_dataset):
    made = disc_dataset(12, formats=["hf"])
    asked = wanted(made)
    (made.folder / "data" / "train-00000.parquet").write_bytes(b"PAR1 not")
    found = set(dict(read_images(made.folder, asked)))
    assert found == {key for key, (shard, _) in asked.items() if shard > 0}
    assert found


def stored(height, width, seed=0):
    rng = np.random.RandomState(seed)
    alpha = rng.randint(0, 256, (height, width)).astype(np.uint8)
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    return Stored(image, alpha, alpha > 127, {})


def decoded(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


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


class TestOutline:
    def test_it_bounds_exactly_the_mask_with_holes_and_parts(self):
        mask = np.zeros((20, 30), bool)
        mask[2:12, 3:20] = True
        mask[5:8, 6:9] = False
        mask[15:18, 22:29] = True
        cell, path = outline_path(mask)
        assert cell == 1
        assert np.array_equal(painted(path, mask.shape), mask)

    def test_of_noise_it_is_exact_too(self):
        mask = np.random.RandomState(3).rand(16, 17) < 0.5
        assert np.array_equal(painted(outline_path(mask)[1], mask.shape), mask)

    def test_an_empty_mask_has_none(self):
        assert outline_path(np.zeros((4, 4), bool)) == (1, "")

    def test_a_ragged_one_is_coarsened_until_it_fits(self, monkeypatch):
        monkeypatch.setattr(stored_images, "MAX_PATH_CHARACTERS", 300)
        mask = np.random.RandomState(0).rand(31, 33) < 0.2
        cell, path = outline_path(mask)
        assert cell > 1
        assert len(path) <= 300
        steps = [int(step) for step in re.findall(r"[hv](-?\d+)", path)]
        assert all(step % cell == 0 for step in steps)


class TestEncode:
    def test_small_pictures_keep_every_level(self):
        sample = stored(20, 30)
        tile = encode_tile(sample)
        assert np.array_equal(decoded(tile["image"]), sample.image)
        assert np.array_equal(decoded(tile["alpha"])[..., 3], sample.alpha)
        assert (tile["width"], tile["height"]) == (30, 20)

    def test_large_ones_are_scaled_down_and_close(self):
        ramp = np.linspace(0, 255, 1024).astype(np.uint8)
        alpha = np.repeat(ramp[None], 768, axis=0)
        sample = Stored(np.repeat(alpha[..., None], 3, axis=2), alpha, alpha > 127, {})
        tile = encode_tile(sample)
        assert (tile["width"], tile["height"]) == (1024, 768)
        image, matte = decoded(tile["image"]), decoded(tile["alpha"])[..., 3]
        assert image.shape == (384, 512, 3)
        assert np.abs(image[..., 0].astype(int) - alpha[::2, ::2]).max() < 12
        assert np.abs(matte.astype(int) - alpha[::2, ::2]).max() < 12

    @pytest.mark.parametrize("size", [(16, 16), (300, 200)])
    def test_the_same_sample_gives_the_same_tile(self, size):
        assert encode_tile(stored(*size)) == encode_tile(stored(*size))
