"""Photographs of anybody: read right, or refused in one line."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.scoring import score
from l4f_datagen.segmenter.photos import open_photos, score_photos, write_masks

GRADIENT = np.stack(np.meshgrid(*[np.arange(0, 240, 20, dtype=np.uint8)] * 2), axis=2)
PIXELS = np.concatenate([GRADIENT[:8], 255 - GRADIENT[:8, :, :1]], axis=2)  # 8 x 12, no symmetry


@pytest.fixture
def read(tmp_path, encode):
    """Decode what is encoded so."""

    def load(pixels, *format, **options):
        (tmp_path / "holiday.jpg").write_bytes(encode(pixels, *format, **options))
        return open_photos(tmp_path / "holiday.jpg").load("holiday.jpg")

    return load


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda p: p), (3, lambda p: p[::-1, ::-1]), (6, np.rot90), (8, lambda p: np.rot90(p, -1))],
)
def test_exif_turns_a_photograph_upright(read, orientation, undo):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = read(np.ascontiguousarray(undo(PIXELS)), exif=exif)
    assert np.array_equal(photo.image, PIXELS)
    assert photo.is_turned == (orientation >= 5)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
# Cut in its only entry, and no EXIF at all: Pillow raises on the second as it is asked for it.
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12", b"Exif\0\0nonsense"])
def test_broken_exif_turns_nothing_and_damages_nothing(read, format, exif):
    photo = read(PIXELS, format, exif=exif)
    assert photo.image.shape == PIXELS.shape
    assert not photo.is_turned


def test_cmyk_grey_and_palette_become_rgb(read):
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert np.array_equal(read(cmyk, "TIFF").image, PIXELS)
    assert read(cmyk, "JPEG").image.shape == (8, 12, 3)
    grey = np.repeat(PIXELS[:, :, :1], 3, axis=2)
    assert np.array_equal(read(PIXELS[:, :, 0]).image, grey)
    palette = Image.fromarray(PIXELS).quantize(4)
    assert np.array_equal(read(palette).image, np.asarray(palette.convert("RGB")))


def test_of_several_images_the_first_of_a_phone_counts_and_others_are_refused(read):
    def two(format, **options):
        other = Image.fromarray(255 - PIXELS)
        return read(PIXELS, format, save_all=True, append_images=[other], **options)

    phone = two("MPO", quality=95, subsampling=0)
    assert np.abs(phone.image.astype(int) - PIXELS).mean() < 8
    for format in ("GIF", "TIFF", "PNG"):
        with pytest.raises(InputRefused, match=r"holiday.jpg: holds 2 images; save the one"):
            two(format)


def test_a_folder_lists_its_images_and_those_below(tmp_path, encode):
    with pytest.raises(InputRefused, match="holds no image"):
        open_photos(tmp_path)
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(InputRefused, match=r"holds no image .*; name a folder of images"):
        open_photos(tmp_path)
    with pytest.raises(InputRefused, match="no such file or folder"):
        open_photos(tmp_path / "absent")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.JPG").write_bytes(encode(PIXELS, "JPEG"))
    (tmp_path / "one.png").write_bytes(encode(PIXELS))
    photos = open_photos(tmp_path)
    assert photos.names == ("b/two.JPG", "one.png")
    assert np.array_equal(photos.load("one.png").image, PIXELS)
    assert open_photos(tmp_path / "one.png").names == ("one.png",)


def test_two_files_of_one_stem_are_refused(brightness_segmenter, tmp_path, encode):
    for name in ("car.png", "car.jpg"):
        (tmp_path / name).write_bytes(encode(PIXELS))
    with pytest.raises(InputRefused, match=r"car.jpg and car.png would share one mask; rename one"):
        write_masks(brightness_segmenter, open_photos(tmp_path), tmp_path / "out")


@pytest.fixture
def photos(tmp_path, encode):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name, format, size in (("a.jpg", "JPEG", (20, 30)), ("trip/b.png", "PNG", (16, 16))):
        image = np.zeros((*size, 3), np.uint8)
        image[4:12, 4:12] = 255
        (folder / name).write_bytes(encode(image, format))
    return folder


def test_masks_have_name_and_size_of_their_photographs(brightness_segmenter, photos, tmp_path):
    out = tmp_path / "out"
    assert write_masks(brightness_segmenter, open_photos(photos), out, with_alpha=True) == []
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


def test_the_threshold_cuts_alpha_and_a_broken_photograph_stops_no_other(
    brightness_segmenter, photos, tmp_path, caplog
):
    (photos / "a.png").write_bytes(b"no picture")
    (photos / "a.jpg").rename(photos / "z.jpg")
    out = tmp_path / "out"
    refused = write_masks(brightness_segmenter, open_photos(photos), out, threshold=0.0)
    assert refused == caplog.messages
    assert "a.png: is not a readable image" in caplog.messages[0]
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == ["masks/trip/b.png", "masks/z.png"]
    assert np.asarray(Image.open(out / "masks" / "z.png")).min() == 255


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
def real_set(make_real_set):
    return make_real_set(photo_0=(16, 16), photo_1=(64, 32), photo_2=(40, 56))


@pytest.fixture
def scored(brightness_segmenter, real_set):
    def of(**options):
        truth, photos = load_annotations(real_set / "masks"), open_photos(real_set / "images")
        return score_photos(brightness_segmenter, photos, truth, **options)

    return of


def test_a_segmenter_that_is_right_scores_high_at_every_size(scored):
    report = scored()
    assert [image.name for image in report.images] == [f"photo_{n}.png" for n in range(3)]
    assert report.images[0].miou == 1.0
    assert min(image.miou for image in report.images) > 0.8
    assert "3 pairs" in report.pairing
    assert report.settings["threshold"] == 0.5
    assert report.scores.mae is not None
    assert "paper columns" in report.to_text()
    assert scored(threshold=0.0).scores.coverage == 1.0


def test_only_the_photographs_with_truth_are_read(scored, real_set):
    (real_set / "images" / "photo_9.png").write_bytes(b"damaged")
    with pytest.raises(AnnotationRefused, match=r"photo_9.png: no truth when pairing by"):
        scored()
    assert scored(allow_unused=True).scores.num_images == 3
    (real_set / "images" / "photo_1.png").write_bytes(b"damaged")
    with pytest.raises(InputRefused, match=r"photo_1.png: is not a readable image"):
        scored(allow_unused=True)


def test_truth_drawn_on_a_lying_photograph_is_refused(scored, real_set, encode):
    path = real_set / "images" / "photo_1.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path.write_bytes(encode(np.asarray(Image.open(path)), exif=exif))
    with pytest.raises(AnnotationRefused, match=r"truth of photo_1.png: drawn on the photograph"):
        scored()


def test_truth_of_another_size_is_refused_or_resized(scored, real_set, encode):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:6] = 255
    (real_set / "masks" / "photo_0.png").write_bytes(encode(mask))
    with pytest.raises(AnnotationRefused, match="16 x 16 pixels, its truth 8 x 8"):
        scored()
    assert scored(resize="nearest").images[0].miou == 1.0
