"""PNG of many images at once, read back by Pillow."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.io.png_bytes import CHUNK_BYTES, FILTER_TYPES, encode_pngs

KINDS = {
    "L": (np.uint8, ()),
    "RGB": (np.uint8, (3,)),
    "RGBA": (np.uint8, (4,)),
    "I;16": (np.uint16, ()),
}


def draw(number, size, mode, seed=0):
    """Smooth in one half, noise in the other; every level occurs."""
    dtype, channels = KINDS[mode]
    top = np.iinfo(dtype).max
    rng = np.random.RandomState(seed)
    pixels = rng.randint(0, top + 1, (number, *size, *channels)).astype(dtype)
    ramp = np.linspace(0, top, size[1]).astype(dtype)
    pixels[:, : size[0] // 2] = ramp.reshape(-1, *(1 for _ in channels))
    return pixels


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("filter_name", FILTER_TYPES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (16, 16), (33, 20)])
def test_pillow_reads_every_pixel_back(mode, filter_name, size):
    pixels = draw(3, size, mode)
    for picture, file in zip(pixels, encode_pngs(list(pixels), filter_name), strict=True):
        with Image.open(io.BytesIO(file)) as checked:
            checked.verify()  # every checksum
        with Image.open(io.BytesIO(file)) as read:
            assert (read.format, read.mode, read.size) == ("PNG", mode, size[::-1])
            np.testing.assert_array_equal(np.asarray(read), picture)


@pytest.mark.parametrize("filter_name", FILTER_TYPES)
def test_rows_are_filtered_as_they_say(filter_name):
    [file] = encode_pngs(draw(1, (6, 5), "RGB"), filter_name)
    at = file.index(b"IDAT")
    length = int.from_bytes(file[at - 4 : at])
    rows = zlib.decompress(file[at + 4 : at + 4 + length])
    assert len(rows) == 6 * (1 + 3 * 5)
    assert set(rows[:: 1 + 3 * 5]) == {FILTER_TYPES[filter_name]}


def test_an_image_has_the_same_bytes_in_any_company():
    size = (64, CHUNK_BYTES // (3 * 64) // 2)  # two of them are filtered at once
    pixels = draw(5, size, "RGB")
    together = encode_pngs(pixels, "average")
    assert together == [encode_pngs([picture], "average")[0] for picture in pixels]
    assert together == encode_pngs(list(pixels), "average")


def test_bytes_do_not_depend_on_what_memory_held():
    pixels = draw(1, (16, 16), "L")
    rng = np.random.RandomState(0)
    seen, junk = set(), []
    for _ in range(300):
        junk = [*junk[-4:], rng.bytes(rng.randint(1, 300_000))]
        seen.update(encode_pngs(pixels, "up"))
    assert len(seen) == 1


def test_filters_make_smooth_images_small():
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    smooth = np.stack([x + y, 2 * x, 255 - y], axis=-1).astype(np.uint8)
    [plain], [filtered] = (encode_pngs([smooth], name) for name in ("none", "average"))
    assert len(filtered) < min(len(plain), smooth.nbytes / 20)


def test_no_images():
    assert encode_pngs([], "up") == []
