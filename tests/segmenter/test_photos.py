"""Photographs of anybody: read right, or refused in one line."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.scoring import score
from l4f_datagen.segmenter.photos import (
    open_photos,
    score_photos,
    write_masks,
)

GRADIENT = np.stack(np.meshgrid(*[np.arange(0, 240, 20, dtype=np.uint8)] * 2), axis=2)
PIXELS = np.concatenate([GRADIENT[:8], 255 - GRADIENT[:8, :, :1]], axis=2)  # 8 x 12, no symmetry


@pytest.fixture
def read(tmp_path):
    """Decode the bytes of a file."""

    def load(data):
        (tmp_path / "holiday.jpg").write_bytes(data)
        return open_photos(tmp_path / "holiday.jpg").load("holiday.jpg")

    return load


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda p: p), (3, lambda p: p[::-1, ::-1]), (6, np.rot90), (8, lambda p: np.rot90(p, -1))],
)
def test_exif_turns_a_photograph_upright(encode, read, orientation, undo):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = read(encode(np.ascontiguousarray(undo(PIXELS)), exif=exif))
    assert np.array_equal(photo.image, PIXELS)
    assert photo.is_turned == (orientation >= 5)


def test_broken_exif_turns_nothing_and_damages_nothing(encode, read):
    # Cut in its only entry, and no EXIF at all: Pillow raises on the second as it is asked for it.
    for exif in (b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12", b"Exif\0\0nonsense"):
        for format in ("JPEG", "PNG", "WEBP"):
            photo = read(encode(PIXELS, format, exif=exif))
            assert photo.image.shape == PIXELS.shape
            assert not photo.is_turned


def test_cmyk_grey_and_palette_become_rgb(encode, read):
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert np.array_equal(read(encode(cmyk, "TIFF")).image, PIXELS)
    assert read(encode(cmyk, "JPEG")).image.shape == (8, 12, 3)
    grey = read(encode(PIXELS[:, :, 0])).image
    assert np.array_equal(grey, np.repeat(PIXELS[:, :, :1], 3, axis=2))
    palette = Image.fromarray(PIXELS).quantize(4)
    assert np.array_equal(read(encode(palette)).image, np.asarray(palette.convert("RGB")))


def test_the_first_image_of_a_phone_jpeg_counts(encode, read):
    other = Image.fromarray(255 - PIXELS)
    data = encode(PIXELS, "MPO", save_all=True, append_images=[other], quality=95, subsampling=0)
    assert np.abs(read(data).image.astype(int) - PIXELS).mean() < 8


def test_several_images_in_one_file_are_refused(encode, read):
    pictures = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    for format in ("GIF", "TIFF", "PNG"):
        data = encode(pictures[0], format, save_all=True, append_images=pictures[1:])
        with pytest.raises(InputRefused, match=r"holiday.jpg: holds 2 images; save the one"):
            read(data)


def test_a_folder_lists_its_images_and_those_below(tmp_path, encode):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.JPG").write_bytes(encode(PIXELS, "JPEG"))
    (tmp_path / "one.png").write_bytes(encode(PIXELS))
    (tmp_path / "notes.txt").write_text("not a picture")
    photos = open_photos(tmp_path)
    assert photos.names == ("b/two.JPG", "one.png")

    assert np.array_equal(photos.load("one.png").image, PIXELS)
    assert open_photos(tmp_path / "one.png").names == ("one.png",)


def test_two_files_of_one_stem_are_refused(tmp_path, encode):
    for name in ("car.png", "car.jpg"):
        (tmp_path / name).write_bytes(encode(PIXELS))
    with pytest.raises(InputRefused, match=r"car.jpg and car.png would share one mask; rename one"):
        write_masks(None, open_photos(tmp_path), tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="holds no image"):
        open_photos(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(InputRefused, match=r"holds no image .*; name a folder of images"):
        open_photos(tmp_path)
    with pytest.raises(InputRefused, match="no such file or folder"):
        open_photos(tmp_path / "absent")


@pytest.fixture
def photos(tmp_path, encode):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name, (height, width) in {"a.jpg": (20, 30), "trip/b.png": (16, 16)}.items():
        image = np.zeros((height, width, 3), np.uint8)
        image[4:12, 4:12] = 255
        format = "JPEG" if name.endswith("jpg") else "PNG"
        (folder / name).write_bytes(encode(image, format))
    return folder


def test_masks_have_name_and_size_of_their_photographs(brightness_segmenter, photos, tmp_path):
    out = tmp_path / "out"
    written = write_masks(brightness_segmenter, open_photos(photos), out, with_alpha=True)
    assert written == []
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == ["alpha/a.png", "alpha/trip/b.png", "masks/a.png", "masks/trip/b.png"]
    for name, size in (("a", (30, 20)), ("trip/b", (16, 16))):
        mask, alpha = (Image.open(out / folder / f"{name}.png") for folder in ("masks", "alpha"))
        assert mask.mode == alpha.mode == "L"
        assert mask.size == alpha.size == size
        assert set(np.unique(np.asarray(mask))) == {0, 255}
        assert np.array_equal(np.asarray(mask) == 255, np.asarray(alpha) > 127)
    report = score(out / "masks", out)
    assert report.scores.miou == 1.0
    assert report.scores.mae is not None


def test_the_threshold_cuts_alpha(brightness_segmenter, photos, tmp_path):
    write_masks(brightness_segmenter, open_photos(photos), tmp_path / "out", threshold=0.0)
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png")).min() == 255
    assert not (tmp_path / "out" / "alpha").exists()


def test_a_broken_photograph_is_counted_and_the_others_go_on(
    brightness_segmenter, photos, tmp_path, caplog
):
    (photos / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    written = write_masks(brightness_segmenter, open_photos(photos), out)
    assert len(written) == 1
    assert written == caplog.messages
    assert "broken.png: is not a readable image" in caplog.messages[0]
    assert len(list(out.rglob("*.png"))) == 2


def test_folders_of_masks_that_cannot_be_used(brightness_segmenter, photos, tmp_path):
    out, opened = tmp_path / "out", open_photos(photos)
    write_masks(brightness_segmenter, opened, out)
    (tmp_path / "file").write_text("a file")
    for folder, match in (
        (out, "masks: is not empty; name another --out or --overwrite"),
        (photos / "out", "lies among the photographs"),
        (tmp_path / "file", r"cannot be used \(.*; name a folder that can be written"),
    ):
        with pytest.raises(UsageError, match=match):
            write_masks(brightness_segmenter, opened, folder)
    assert write_masks(brightness_segmenter, opened, out, overwrite=True) == []


@pytest.fixture
def real_set(tmp_path, encode):
    """Three photographs of a light on black, of a size each, and their masks."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number, (height, width) in enumerate([(16, 16), (64, 32), (40, 56)]):
        light = np.zeros((height, width), bool)
        light[height // 4 : height // 2, width // 4 : 3 * width // 4] = True
        image = np.repeat(light[:, :, None] * np.uint8(255), 3, axis=2)
        (tmp_path / "images" / f"photo_{number}.png").write_bytes(encode(image))
        (tmp_path / "masks" / f"photo_{number}.png").write_bytes(encode(light * np.uint8(255)))
    return tmp_path


def scored(segmenter, folder, **options):
    return score_photos(
        segmenter, open_photos(folder / "images"), load_annotations(folder / "masks"), **options
    )


def test_a_segmenter_that_is_right_scores_high_at_every_size(brightness_segmenter, real_set):
    report = scored(brightness_segmenter, real_set)
    assert [image.name for image in report.images] == [f"photo_{n}.png" for n in range(3)]
    assert report.images[0].miou == 1.0
    assert min(image.miou for image in report.images) > 0.8
    assert "3 pairs" in report.pairing
    assert report.settings["threshold"] == 0.5
    assert report.scores.mae is not None
    assert "paper columns" in report.to_text()
    assert scored(brightness_segmenter, real_set, threshold=0.0).scores.coverage == 1.0


def test_only_the_photographs_with_truth_are_read(brightness_segmenter, real_set):
    (real_set / "images" / "photo_9.png").write_bytes(b"damaged")
    with pytest.raises(AnnotationRefused, match=r"photo_9.png: no truth when pairing by"):
        scored(brightness_segmenter, real_set)
    report = scored(brightness_segmenter, real_set, allow_unused=True)
    assert report.scores.num_images == 3


def test_a_damaged_photograph_is_refused(brightness_segmenter, real_set):
    (real_set / "images" / "photo_1.png").write_bytes(b"damaged")
    with pytest.raises(InputRefused, match=r"photo_1.png: is not a readable image"):
        scored(brightness_segmenter, real_set)


def test_truth_drawn_on_a_lying_photograph_is_refused(brightness_segmenter, real_set, encode):
    path = real_set / "images" / "photo_1.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path.write_bytes(encode(np.asarray(Image.open(path)), exif=exif))
    with pytest.raises(AnnotationRefused, match=r"truth of photo_1.png: drawn on the photograph"):
        scored(brightness_segmenter, real_set)


def test_truth_of_another_size_is_refused_or_resized(brightness_segmenter, real_set, encode):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:6] = 255
    (real_set / "masks" / "photo_0.png").write_bytes(encode(mask))
    with pytest.raises(AnnotationRefused, match="16 x 16 pixels, its truth 8 x 8"):
        scored(brightness_segmenter, real_set)
    assert scored(brightness_segmenter, real_set, resize="nearest").images[0].miou == 1.0
