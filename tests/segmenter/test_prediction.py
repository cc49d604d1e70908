import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import UsageError
from l4f_datagen.scoring import score
from l4f_datagen.segmenter.photos import open_photos, write_masks


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
