import json

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.segmenter.training_set import held_out, is_held_out, open_training_set


@pytest.fixture
def make_set(discs, tmp_path):
    def make(formats=("png",)):
        discs.make_dataset(tmp_path / "data", 6, formats=formats)
        return tmp_path / "data"

    return make


@pytest.mark.parametrize("format", ["png", "hf"])
def test_png_and_parquet_give_the_samples_that_were_made(discs, make_set, tmp_path, format):
    samples = open_training_set(make_set((format,)), tmp_path / "scratch")
    made = sorted(discs.accepted_discs(6), key=lambda sample: sample.key)
    assert samples.keys == [sample.key for sample in made]
    images, masks = samples.batch(np.array([4, 0, 4]))
    assert images.dtype == np.uint8
    assert masks.dtype == np.float32
    for place, image, mask in zip((4, 0, 4), images, masks, strict=True):
        assert np.array_equal(image, made[place].image)
        assert np.array_equal(mask, made[place].mask.astype(np.float32))


def test_another_size_is_scaled_and_padded(make_set, tmp_path):
    samples = open_training_set(make_set(), tmp_path)
    samples.size = 12
    images, masks = samples.batch(np.array([0, 1]))
    assert images.shape == (2, 16, 16, 3)
    assert masks.shape == (2, 16, 16)
    assert ((masks > 0) & (masks < 1)).any()
    assert np.array_equal(images[:, 12:, :], np.repeat(images[:, 11:12, :], 4, axis=1))


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def first(folder, kind, suffix="png"):
    return sorted((folder / kind).rglob(f"*.{suffix}"))[0]


def without_first(folder):
    for kind in ("images", "masks"):
        first(folder, kind).unlink()


@pytest.mark.parametrize(
    ("format", "spoil", "match"),
    [
        ("png", lambda folder: edit(folder, formats=["tar"]),
         "is written as tar; make it with one of png, hf"),
        ("png", lambda folder: edit(folder, counts={"accepted": 0, "attempted": 3}),
         "holds no sample; make some"),
        ("png", lambda folder: first(folder, "masks").unlink(),
         "1 samples lack an image or a mask, psi"),
        ("png", without_first, "holds 5 samples, its manifest says 6"),
        ("png", lambda folder: first(folder, "images").write_bytes(b"no picture"),
         "is not a readable image .*; make the dataset again"),
        ("png", lambda folder: edit(folder, splits={"train": 4, "val": 2})
         or (folder / "ledger.jsonl").write_text("no ledger"), "ledger.jsonl: cannot be read"),
        ("hf", lambda folder: first(folder, "data", "parquet").write_bytes(b"PAR1 no more"),
         "holds broken Parquet; make the dataset again"),
    ],
)  # fmt: skip
def test_datasets_that_cannot_be_read_are_refused(make_set, tmp_path, format, spoil, match):
    spoil(make_set((format,)))
    with pytest.raises(InputRefused, match=match):
        open_training_set(tmp_path / "data", tmp_path / "scratch")


def test_files_that_are_damaged_meanwhile_are_refused(make_set, tmp_path, encode):
    folder = make_set()
    samples = open_training_set(folder, tmp_path)
    mask = next((folder / "masks").rglob(f"{samples.keys[2]}.png"))
    for data, match in (
        (mask.read_bytes()[:60], f"{samples.keys[2]}: is damaged .*; make the dataset"),
        (encode(np.zeros((16, 12), np.uint8)), "is 12 x 16 L, expected 16 x 16 L"),
        (None, r"cannot be read \(No such file"),
    ):
        mask.write_bytes(data) if data else mask.unlink()
        with pytest.raises(InputRefused, match=match):
            samples.batch(np.array([2]))


def test_the_held_out_share_hangs_on_the_key_alone():
    keys = [f"psi1000-seed{n:07d}" for n in range(2000)]
    held_out = [is_held_out(key, 0.1) for key in keys]
    assert 150 < sum(held_out) < 250
    assert not any(is_held_out(key, 0.0) for key in keys)
    psis = ("psi0500", "psi0700", "psi1000")
    for seed in range(200):
        assert len({is_held_out(f"{psi}-seed{seed:07d}", 0.3) for psi in psis}) == 1


def test_splits_of_the_dataset_are_respected(make_set, tmp_path):
    folder = make_set()
    ledger = folder / "ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["split"] = ("train", "train", "val", "test")[number % 4]
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit(folder, splits={"train": 4, "val": 1, "test": 1})
    splits = {row["key"]: row["split"] for row in rows}
    samples = open_training_set(folder, tmp_path)
    assert held_out(samples).tolist() == [splits[key] != "train" for key in samples.keys]


def test_images_may_be_jpeg_or_webp(make_set, tmp_path):
    folder = make_set()
    expected = open_training_set(folder, tmp_path).batch(np.array([1]))[0]
    for path in sorted((folder / "images").rglob("*.png"))[:2]:
        with Image.open(path) as image:
            image.save(path.with_suffix(".webp"), lossless=True, exact=True)
        path.unlink()
    samples = open_training_set(folder, tmp_path)
    assert np.array_equal(samples.batch(np.array([1]))[0], expected)
