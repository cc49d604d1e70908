"""Image files from anywhere: read right, or refused in one line; PNG of many at once."""

import io
import struct
import zlib
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photo import CHUNK_BYTES, FILTER_TYPES, encode_pngs, opened, upright_rgb

PIXELS = np.random.RandomState(0).randint(0, 256, (8, 12, 3)).astype(np.uint8)


def encoded(pixels, format="PNG", **more):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, **more)
    return buffer.getvalue()


def read(source):
    with opened(source, "a.png") as image:
        return np.asarray(upright_rgb(image, "a.png"))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_plain_images_keep_every_byte(format, mode):
    plain = Image.fromarray(PIXELS).convert(mode)
    data = encoded(plain.convert("RGB") if format in ("JPEG", "WEBP") else plain, format)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(data), expected)


def test_a_file_and_its_bytes_are_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(PIXELS))
    assert np.array_equal(read(tmp_path / "a.png"), PIXELS)
    assert np.array_equal(read(encoded(PIXELS)), PIXELS)


def png(header, data):
    """A PNG of these bytes; the header without depth of compression, filter and interlace."""
    file = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        body = kind + body
        file += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return file


def test_16_bits_are_scaled():
    levels = (np.arange(144, dtype=np.uint16) * 400).reshape(12, 12)
    expected = np.repeat(np.rint(levels / 257).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.array_equal(read(encoded(levels)), expected)
    row = b"\0" + struct.pack(">6H", 0, 0x4E20, 0x8000, 0xFFFF, 0x1234, 0x00FF)
    assert read(png((2, 1, 16, 2), row)).tolist() == [[[0, 0x4E, 0x80], [0xFF, 0x12, 0]]]


def test_an_image_of_a_phone_stands_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = encoded(np.ascontiguousarray(np.rot90(PIXELS)), exif=exif)
    assert np.array_equal(read(lying), PIXELS)


@pytest.mark.parametrize("opacity", [0, 255])
def test_hidden_colours_stay_hidden(opacity):
    shown = read(encoded(np.dstack([PIXELS, np.full((8, 12), opacity, np.uint8)])))
    assert np.array_equal(shown, PIXELS * (opacity // 255))


def test_broken_exif_is_no_damage():
    for exif in (b"nonsense", b"II*\0\x08\0\0\0\x05\0\x12"):
        data = encoded(PIXELS)
        body = b"eXIf" + exif
        chunk = struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))
        assert np.array_equal(read(data[:33] + chunk + data[33:]), PIXELS)


UNKNOWN = r"is not a readable image \(known are JPEG, PNG, WEBP, BMP, TIFF, GIF\); remove or re"
NOISE = encoded(np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", UNKNOWN),
        (b"words", UNKNOWN),
        (b"GIF89a", "is damaged; remove or replace it"),
        (b"\x89PNG nothing else", "is damaged; remove or replace it"),
        (NOISE[: len(NOISE) // 2], r"is damaged \(.+\); remove or replace it"),
        (None, r"is not a readable image \(Is a directory\); remove or replace it"),
        (encoded(np.zeros((4, 4), np.float32), "TIFF"), "has pixels of kind F; save it as RGB or"),
        # Before memory is taken:
        (png((60_000, 60_000, 8, 2), bytes(9)), "is far beyond 64 megapixels; shrink it"),
        (png((9_000, 9_000, 8, 2), bytes(9)), "is 9000 x 9000 pixels, at most 64 MP are read; s"),
        (png((70_000, 1, 8, 2), bytes(9)), "is 70000 x 1 pixels, at most 65536 a side are read;"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(data, told, tmp_path):
    path = tmp_path if data is None else tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    for source in (path, data or path):
        with pytest.raises(InputRefused, match=f"^a.png: {told}") as caught:
            read(source)
        assert caught.value.exit_code == 4
        assert "0x" not in str(caught.value)  # an address in memory


def test_whatever_a_decoder_raises_is_told_in_one_line(monkeypatch):
    fail = Mock(side_effect=struct.error("required argument is not an integer"))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(InputRefused, match=r"damaged \(required argument is not an integer\); rem"):
        read(encoded(PIXELS))


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
    rng, seen, junk = np.random.RandomState(0), set(), []
    for _ in range(300):
        junk = [*junk[-4:], rng.bytes(rng.randint(1, 300_000))]
        seen.update(encode_pngs(draw(1, (16, 16), "L"), "up"))
    assert len(seen) == 1


def test_filters_make_smooth_images_small():
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    smooth = np.stack([x + y, 2 * x, 255 - y], axis=-1).astype(np.uint8)
    [plain], [filtered] = (encode_pngs([smooth], name) for name in ("none", "average"))
    assert len(filtered) < min(len(plain), smooth.nbytes / 20)
    assert encode_pngs([], "up") == []
