"""Stored images: read back from every format."""

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.report.records import read_records
from l4f_datagen.report.stored_images import read_images


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
        monkeypatch.setattr(f"l4f_datagen.report.stored_images.{limit}", 1)
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
