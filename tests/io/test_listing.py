"""What names a set of pictures, and with it a training: changed pictures, another name."""

import io
import os
import shutil
import zipfile

import datasets
import lmdb
import pytest
from PIL import Image

from l4f_datagen.io.listing import SAMPLED, listing_sha256
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.training.run import pictures_of, training_id

PLAIN_ID = "74b3be78aec9b3927a9e51e31a6f66e9dbdd645ea01fe30c98dd913f244c2535"
"""Of the defaults, for a generator called f."""


def png(size=(16, 16), level=50):
    buffer = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def make_folder(path, pictures):
    for name, data in pictures.items():
        (path / "deep").mkdir(parents=True, exist_ok=True)
        (path / "deep" / name).write_bytes(data)


def make_zip(path, pictures):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)


def make_lmdb(path, pictures):
    environment = lmdb.open(str(path), map_size=2**22)
    for name, data in pictures.items():
        with environment.begin(write=True) as transaction:
            transaction.put(name.encode(), data)
    environment.close()


def make_hf(path, pictures):
    rows = {"image": [{"bytes": data, "path": None} for data in pictures.values()]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(image=datasets.Image()))
    path.mkdir()
    table.to_parquet(str(path / "train-00000.parquet"))


MAKERS = {"folder": make_folder, "zip": make_zip, "lmdb": make_lmdb, "hf": make_hf}
PICTURES = {"a.png": png(), "b.png": png(level=60)}


@pytest.mark.parametrize("kind", MAKERS)
def test_pictures_name_a_store_and_no_clock_does(kind, tmp_path):
    MAKERS[kind](tmp_path / "one", PICTURES)
    first = listing_sha256(str(tmp_path / "one"), kind)
    copy = shutil.copytree if (tmp_path / "one").is_dir() else shutil.copyfile
    copy(tmp_path / "one", tmp_path / "copy")
    for path in (tmp_path / "copy", *(tmp_path / "copy").rglob("*")):
        os.utime(path, (1, 1))
    assert listing_sha256(str(tmp_path / "copy"), kind) == first
    MAKERS[kind](tmp_path / "more", PICTURES | {"c.png": png()})
    assert listing_sha256(str(tmp_path / "more"), kind) not in (None, first)
    MAKERS[kind](tmp_path / "other", PICTURES | {"b.png": png(level=70)})
    if kind != "lmdb":  # whose pages hide what is in them
        assert listing_sha256(str(tmp_path / "other"), kind) not in (None, first)


def test_of_many_pictures_sizes_count_and_the_bytes_of_a_few(tmp_path):
    many = {f"{number:04d}.png": png() for number in range(4 * SAMPLED)}
    make_folder(tmp_path, many)
    seen = {listing_sha256(str(tmp_path))}
    (tmp_path / "deep" / "0001.png").write_bytes(png()[::-1])  # between two that are read
    assert listing_sha256(str(tmp_path)) in seen
    for name, data in (("0001.png", png() + b"x"), ("0004.png", png()[::-1])):
        (tmp_path / "deep" / name).write_bytes(data)
        seen.add(listing_sha256(str(tmp_path)))
    assert len(seen) == 3


def test_what_is_no_picture_does_not_count(tmp_path):
    make_folder(tmp_path, PICTURES)
    before = listing_sha256(str(tmp_path))
    (tmp_path / "notes.txt").write_text("words")
    assert listing_sha256(str(tmp_path)) == before


@pytest.mark.parametrize("path", ["absent", "user/cats", "absent.mdb"])
def test_what_cannot_be_listed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listing_sha256(path, "zip" if path == "absent" else None) is None


def test_a_changed_picture_gives_another_training(tmp_path):
    make_folder(tmp_path / "set", PICTURES)
    training = {"reals": "folder", "reals_folder": str(tmp_path / "set")}
    reals = AlphaPart.model_validate({"training": training})
    path = {"background": "pictures", "background_path": str(tmp_path / "set")}
    backgrounds = AlphaPart.model_validate(path)
    before = [training_id(part, "f") for part in (reals, backgrounds)]
    assert [training_id(part, "f") for part in (reals, backgrounds)] == before
    make_folder(tmp_path / "set", {"b.png": png((16, 20))})
    after = [training_id(part, "f") for part in (reals, backgrounds)]
    assert not set(before) & set(after)


def test_a_second_generator_is_named_by_its_bytes(tmp_path):
    file = tmp_path / "other.safetensors"
    part = AlphaPart.model_validate({"background": "generator", "background_path": str(file)})
    assert pictures_of(part) == {}
    names = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        names.append(training_id(part, "f"))
    assert names[0] != names[1]


def test_only_what_decides_the_weights_names_a_training():
    plain = AlphaPart()
    assert pictures_of(plain) == {}
    low = AlphaPart.model_validate({"training": {"precision": "bf16"}})
    assert training_id(low, "f") != training_id(plain, "f")
    # Pinned: what was trained before is found again.
    assert training_id(plain, "f") == PLAIN_ID


def test_pictures_name_a_training_wherever_they_lie(tmp_path):
    names = []
    for place in ("here", "there"):
        make_folder(tmp_path / place, PICTURES)
        folder = str(tmp_path / place)
        part = {"background": "pictures", "background_path": folder}
        part["training"] = {"reals": "folder", "reals_folder": folder}
        names.append(training_id(AlphaPart.model_validate(part), "f"))
    assert names[0] == names[1]


def test_a_generator_of_the_catalogue_is_named_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    part = {"background": "generator", "background_path": "catalogue:stylegan2-car"}
    alpha_part = AlphaPart.model_validate(part)
    before = training_id(alpha_part, "f")
    file = local_weights(part["background_path"], "generator")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"fetched")
    assert training_id(alpha_part, "f") == before
