"""Photographs of anybody: read right, or refused in one line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.segmenter.photos import decode_photo, open_photos, stems_of

GRADIENT = np.stack(np.meshgrid(*[np.arange(0, 240, 20, dtype=np.uint8)] * 2), axis=2)
PIXELS = np.concatenate([GRADIENT[:8], 255 - GRADIENT[:8, :, :1]], axis=2)  # 8 x 12, no symmetry


def read(data):
    return decode_photo(data, "holiday.jpg")


def test_rgb_comes_as_it_is(encode):
    photo = read(encode(PIXELS))
    assert photo.image.dtype == np.uint8
    assert np.array_equal(photo.image, PIXELS)
    assert not photo.is_turned


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda p: p), (3, lambda p: p[::-1, ::-1]), (6, np.rot90), (8, lambda p: np.rot90(p, -1))],
)
def test_exif_turns_a_photograph_upright(encode, orientation, undo):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = read(encode(np.ascontiguousarray(undo(PIXELS)), exif=exif))
    assert np.array_equal(photo.image, PIXELS)
    assert photo.is_turned == (orientation >= 5)


def test_broken_exif_turns_nothing_and_damages_nothing(encode):
    # Cut in its only entry, and no EXIF at all: Pillow raises on the second as it is asked for it.
    for exif in (b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12", b"Exif\0\0nonsense"):
        for format in ("JPEG", "PNG", "WEBP"):
            photo = read(encode(PIXELS, format, exif=exif))
            assert photo.image.shape == PIXELS.shape
            assert not photo.is_turned


def test_16_bit_grey_is_scaled_not_cut(encode):
    levels = (np.arange(96, dtype=np.uint16) * 600).reshape(8, 12)
    for format in ("PNG", "TIFF"):
        image = read(encode(levels, format)).image
        assert np.array_equal(image, np.repeat(np.rint(levels / 257)[:, :, None], 3, axis=2))


def test_cmyk_grey_and_palette_become_rgb(encode):
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert np.array_equal(read(encode(cmyk, "TIFF")).image, PIXELS)
    assert read(encode(cmyk, "JPEG")).image.shape == (8, 12, 3)
    grey = read(encode(PIXELS[:, :, 0])).image
    assert np.array_equal(grey, np.repeat(PIXELS[:, :, :1], 3, axis=2))
    palette = Image.fromarray(PIXELS).quantize(4)
    assert np.array_equal(read(encode(palette)).image, np.asarray(palette.convert("RGB")))


def test_transparent_pixels_are_black(encode):
    opacity = np.zeros((8, 12, 1), np.uint8)
    opacity[:4] = 255
    image = read(encode(np.concatenate([PIXELS, opacity], axis=2))).image
    assert np.array_equal(image[:4], PIXELS[:4])
    assert not image[4:].any()


def test_the_first_image_of_a_phone_jpeg_counts(encode):
    other = Image.fromarray(255 - PIXELS)
    data = encode(PIXELS, "MPO", save_all=True, append_images=[other], quality=95, subsampling=0)
    assert np.abs(read(data).image.astype(int) - PIXELS).mean() < 8


def test_several_images_in_one_file_are_refused(encode):
    pictures = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    for format in ("GIF", "TIFF", "PNG"):
        data = encode(pictures[0], format, save_all=True, append_images=pictures[1:])
        with pytest.raises(InputRefused, match=r"holiday.jpg: holds 2 images; save the one"):
            read(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_short_is_refused(encode, format):
    noise = np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    data = encode(noise, format)
    with pytest.raises(InputRefused, match=r"holiday.jpg: is damaged.*; remove or replace it"):
        read(data[: len(data) // 2])


def test_floating_point_pixels_are_refused(encode):
    with pytest.raises(InputRefused, match="has pixels of kind F; save it as RGB or grey"):
        read(encode(np.zeros((4, 4), np.float32), "TIFF"))


@pytest.mark.parametrize("data", [b"GIF89a", b"%PDF-1.7", b"<html>", b"\0\0\0\x18ftypheic" * 9])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(InputRefused, match=r"is (damaged|not a readable image)"):
        read(data)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (70_000, 1), (9_000, 8_000)])
def test_a_huge_declared_size_is_refused_before_memory_is_taken(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(
        InputRefused, match=r"at most (64 MP|65536 a side) are read; shrink it|far beyond 64 me"
    ):
        read(data)


def test_a_folder_lists_its_images_and_those_below(tmp_path, encode):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.JPG").write_bytes(encode(PIXELS, "JPEG"))
    (tmp_path / "one.png").write_bytes(encode(PIXELS))
    (tmp_path / "notes.txt").write_text("not a picture")
    photos = open_photos(tmp_path)
    assert photos.names == ("b/two.JPG", "one.png")
    assert stems_of(photos) == {"b/two.JPG": "b/two", "one.png": "one"}
    assert np.array_equal(photos.load("one.png").image, PIXELS)
    assert open_photos(tmp_path / "one.png").names == ("one.png",)


def test_two_files_of_one_stem_are_refused(tmp_path, encode):
    for name in ("car.png", "car.jpg"):
        (tmp_path / name).write_bytes(encode(PIXELS))
    with pytest.raises(InputRefused, match=r"car.jpg and car.png would share one mask; rename one"):
        stems_of(open_photos(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="holds no image"):
        open_photos(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(InputRefused, match=r"holds no image .*; name a folder of images"):
        open_photos(tmp_path)
    with pytest.raises(InputRefused, match="no such file or folder"):
        open_photos(tmp_path / "absent")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    photos = open_photos(tmp_path)
    with pytest.raises(InputRefused, match=r"a.png: 0 bytes"):
        photos.load("a.png")
