import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.segmenter.photos import open_photos, score_photos


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


def score(segmenter, folder, **options):
    return score_photos(
        segmenter, open_photos(folder / "images"), load_annotations(folder / "masks"), **options
    )


def test_a_segmenter_that_is_right_scores_high_at_every_size(brightness_segmenter, real_set):
    report = score(brightness_segmenter, real_set)
    assert [image.name for image in report.images] == [f"photo_{n}.png" for n in range(3)]
    assert report.images[0].miou == 1.0
    assert min(image.miou for image in report.images) > 0.8
    assert "3 pairs" in report.pairing
    assert report.settings["threshold"] == 0.5
    assert report.scores.mae is not None
    assert "paper columns" in report.to_text()


def test_the_threshold_cuts_alpha(brightness_segmenter, real_set):
    assert score(brightness_segmenter, real_set, threshold=0.0).scores.coverage == 1.0


def test_only_the_photographs_with_truth_are_read(brightness_segmenter, real_set):
    (real_set / "images" / "photo_9.png").write_bytes(b"damaged")
    with pytest.raises(AnnotationRefused, match=r"photo_9.png: no truth when pairing by"):
        score(brightness_segmenter, real_set)
    report = score(brightness_segmenter, real_set, allow_unused=True)
    assert report.scores.num_images == 3


def test_a_damaged_photograph_is_refused(brightness_segmenter, real_set):
    (real_set / "images" / "photo_1.png").write_bytes(b"damaged")
    with pytest.raises(InputRefused, match=r"photo_1.png: is not a readable image"):
        score(brightness_segmenter, real_set)


def test_truth_drawn_on_a_lying_photograph_is_refused(brightness_segmenter, real_set, encode):
    path = real_set / "images" / "photo_1.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path.write_bytes(encode(np.asarray(Image.open(path)), exif=exif))
    with pytest.raises(
        AnnotationRefused, match=r"truth of photo_1.png: drawn on the photograph as"
    ):
        score(brightness_segmenter, real_set)


def test_truth_of_another_size_is_refused_or_resized(brightness_segmenter, real_set, encode):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:6] = 255
    (real_set / "masks" / "photo_0.png").write_bytes(encode(mask))
    with pytest.raises(AnnotationRefused, match="16 x 16 pixels, its truth 8 x 8"):
        score(brightness_segmenter, real_set)
    assert score(brightness_segmenter, real_set, resize="nearest").images[0].miou == 1.0
