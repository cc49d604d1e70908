"""Masks of photographs: written to a folder, or scored against truth."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.scoring import score
from l4f_datagen.segmenter.photos import open_photos, score_photos, write_masks


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
    assert (written.masks, written.refused) == (2, ())
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
    assert written.masks == 2
    assert list(written.refused) == caplog.messages
    assert "broken.png: is not a readable image" in caplog.messages[0]
    assert len(list(out.rglob("*.png"))) == 2


def test_masks_that_are_there_are_replaced_only_on_request(brightness_segmenter, photos, tmp_path):
    out = tmp_path / "out"
    write_masks(brightness_segmenter, open_photos(photos), out)
    with pytest.raises(UsageError, match="masks: is not empty; name another --out or --overwrite"):
        write_masks(brightness_segmenter, open_photos(photos), out)
    assert write_masks(brightness_segmenter, open_photos(photos), out, overwrite=True).masks == 2


def test_masks_among_the_photographs_are_refused(brightness_segmenter, photos):
    with pytest.raises(UsageError, match="lies among the photographs"):
        write_masks(brightness_segmenter, open_photos(photos), photos / "out")


def test_a_file_in_place_of_the_folder_is_refused(brightness_segmenter, photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot be used \(.*; name a folder that can be written"):
        write_masks(brightness_segmenter, open_photos(photos), tmp_path / "out")


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


def test_the_threshold_cuts_what_is_scored(brightness_segmenter, real_set):
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
    with pytest.raises(
        AnnotationRefused, match=r"truth of photo_1.png: drawn on the photograph as"
    ):
        scored(brightness_segmenter, real_set)


def test_truth_of_another_size_is_refused_or_resized(brightness_segmenter, real_set, encode):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:6] = 255
    (real_set / "masks" / "photo_0.png").write_bytes(encode(mask))
    with pytest.raises(AnnotationRefused, match="16 x 16 pixels, its truth 8 x 8"):
        scored(brightness_segmenter, real_set)
    assert scored(brightness_segmenter, real_set, resize="nearest").images[0].miou == 1.0
