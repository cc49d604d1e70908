"""Stored images: read back from every format, and encoded for a page."""

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.report.records import read_records
from l4f_datagen.report.stored_images import read_images


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
    made, other = disc_dataset(4), disc_dataset(4, name="hf", formats=["hf"])
    for _, stored in read_images(made.folder, wanted(made)):
        assert set(stored.files) == {"image", "mask", "alpha"}
        assert all((made.folder / path).is_file() for path in stored.files.values())
    assert [stored.files for _, stored in read_images(other.folder, wanted(other))] == [{}] * 4


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
    black = np.zeros((2, 3), np.uint8)
    pictures = {"alpha": levels, "images": np.stack([black] * 3, axis=2), "masks": black}
    for part, pixels in pictures.items():
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
