import builtins
import io
import os
import re
import subprocess
import sys
import zipfile

import datasets
import lmdb
import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.io.stores import STORES, open_store, store_kind
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.toys.scene import TOYS
from l4f_datagen.training.reals import REALS

LEVELS = (50, 100, 150)


def encoded(level, size=(16, 16), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(buffer, kind)
    return buffer.getvalue()


def fill(path, entries, *, subdir=True):
    environment = lmdb.open(str(path), subdir=subdir, map_size=2**22)
    with environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    environment.close()
    return path


def rosinality(path, sizes=(16,), count=3):
    entries = {b"length": str(count).encode()}
    for size in sizes:
        for number in range(count):
            picture = encoded(LEVELS[number], (size, size), "JPEG")
            entries[f"{size}-{number:05d}".encode()] = picture
    return fill(path, entries)


def make_folder(path):
    for level in LEVELS:
        (path / "deep").mkdir(parents=True, exist_ok=True)
        (path / "deep" / f"{level}.png").write_bytes(encoded(level))
    return path


def make_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for level in LEVELS:
            archive.writestr(f"set/{level}.png", encoded(level))
        archive.writestr("__MACOSX/set/._50.png", b"no picture")
        archive.writestr("readme.txt", b"words")
        archive.mkdir("set/folder.png")
    return path


def make_lsun(path):
    return fill(path, {f"{k:040x}".encode(): encoded(v, kind="WEBP") for k, v in enumerate(LEVELS)})


def make_hf(path):
    rows = {"label": [0, 1, 2], "image": [Image.open(io.BytesIO(encoded(v))) for v in LEVELS]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.save_to_disk(str(path))
    return path


def make_parquet(path):
    path.mkdir()
    rows = {"image": [{"bytes": encoded(v), "path": None} for v in LEVELS]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(image=datasets.Image()))
    table.to_parquet(str(path / "train-00000.parquet"))
    return path


MAKERS = {
    "folder": ("folder", make_folder),
    "set.zip": ("zip", make_zip),
    "rosinality": ("lmdb", rosinality),
    "lsun": ("lmdb", make_lsun),
    "saved": ("hf", make_hf),
    "parquet": ("hf", make_parquet),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_store_is_told_and_read(name, tmp_path, make_generator):
    kind, make = MAKERS[name]
    path = make(tmp_path / name)
    assert store_kind(str(path)) == kind
    store = open_store(str(path), 16)
    assert len(store) == 3
    levels = [store.read(k) for k in range(3)]
    assert all(picture.shape == (16, 16, 3) for picture in levels)
    assert sorted(round(float(p.mean()) / 10) * 10 for p in levels) == [50, 100, 150]
    part = TrainingPart(reals=kind, reals_folder=str(path))
    images = REALS[kind](part, make_generator())(np.random.RandomState(0), 8)
    assert images.shape == (8, 3, 16, 16)
    picked = np.random.RandomState(0).randint(0, 3, 8)
    expected = np.stack([store.read(int(k)) for k in picked])
    assert np.array_equal(np.rint((images.numpy() + 1) * 127.5), expected.transpose(0, 3, 1, 2))


def test_names_that_are_no_paths():
    assert store_kind("user/cats") == store_kind("hf://user/cats") == "hf"
    assert store_kind("./user/cats") == store_kind("nowhere") == "folder"


def test_a_name_below_a_folder_that_is_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert store_kind("photos/cats") == store_kind("~/cats") == "folder"
    assert store_kind("hf://photos/cats") == "hf"
    with pytest.raises(InputRefused, match=r"^photos/cats: is not there; name a folder, a whole"):
        open_store("photos/cats", 16)


@pytest.mark.parametrize("kind", ["folder", "zip", "lmdb", None])
def test_what_is_not_there(tmp_path, kind):
    expected = r"absent: is not there; name a folder, a whole zip file, an LMDB or a Hugging Face d"
    with pytest.raises(InputRefused, match=expected) as caught:
        open_store(str(tmp_path / "absent"), 16, kind)
    assert caught.value.exit_code == 4


def test_a_picture_given_as_a_store(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(50))
    expected = r"a.png: is no zip file \(.*\); name a folder, a whole zip file, an LMDB or a Hugg"
    with pytest.raises(InputRefused, match=expected):
        open_store(str(tmp_path / "a.png"), 16)


def test_rosinality_takes_the_smallest_size_that_fills_the_canvas(tmp_path):
    path = rosinality(tmp_path / "db", sizes=(8, 32, 64))
    assert open_store(str(path), 16).keys[0] == b"32-00000"
    assert open_store(str(path), 64).keys[0] == b"64-00000"
    assert open_store(str(path), 100).keys[0] == b"64-00000"


def test_an_lmdb_that_is_one_file(tmp_path):
    path = fill(tmp_path / "one.mdb", {b"a": encoded(50)}, subdir=False)
    assert len(open_store(str(path), 16)) == 1


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({}, r"db: holds no image .*; name pictures of the domain"),
        ({b"length": b"0"}, r"db: holds no image"),
        ({b"length": b"7"}, r"db: promises 7 pictures and holds none; name an LSUN or rosinality"),
        ({b"length": b"-7"}, r"db: has an impossible length b'-7'; name an LSUN or rosinality"),
        ({b"length": b"9" * 30}, r"db: has an impossible length"),
    ],
)
def test_an_lmdb_without_pictures(tmp_path, entries, problem):
    path = fill(tmp_path / "db", entries)
    with pytest.raises(InputRefused, match=problem) as caught:
        open_store(str(path), 16)
    assert caught.value.exit_code == 4


def test_what_is_no_lmdb(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(InputRefused, match=r"is no LMDB \(.*\); name an LSUN or rosinality LMDB"):
        open_store(str(tmp_path), 16)


def test_an_lmdb_that_is_cut_off(tmp_path):
    entries = {f"{number:040x}".encode(): bytes(20_000) for number in range(9)}
    path = fill(tmp_path / "db", entries)
    os.truncate(path / "data.mdb", 12_288)
    # In a process of its own: without the check it is killed as it reads beyond the end.
    code = "import sys; from l4f_datagen.io.stores import open_store; open_store(sys.argv[1], 8)"
    words = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    said = r"InputRefused: \S+db: is cut off: 12,288 of \d{3},\d{3} bytes are there; copy or downl"
    assert result.returncode == 1
    assert re.search(said, result.stderr), result.stderr


def test_a_picture_missing_from_an_lmdb(tmp_path):
    path = fill(tmp_path / "db", {b"length": b"2", b"16-00000": encoded(50)})
    with pytest.raises(InputRefused, match=r"db:16-00001: is missing; make the LMDB again"):
        open_store(str(path), 16)


def test_an_entry_that_is_no_picture(tmp_path):
    path = fill(tmp_path / "db", {b"key": b"words"})
    with pytest.raises(InputRefused, match=r"db:key: is not a readable image"):
        open_store(str(path), 16)


def test_without_the_lmdb_package(tmp_path, monkeypatch):
    path, real = make_lsun(tmp_path / "db"), builtins.__import__

    def fail(name, *rest):
        if name == "lmdb":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UsageError, match=r"needs the lmdb package; pip install lmdb"):
        open_store(str(path), 16)


def test_zips_that_cannot_be_read(tmp_path):
    (tmp_path / "text.zip").write_bytes(b"no zip")
    with pytest.raises(InputRefused, match=r"text.zip: is no zip file \(.*\); name a folder, "):
        open_store(str(tmp_path / "text.zip"), 16)
    path = make_zip(tmp_path / "bent.zip")
    data = bytearray(path.read_bytes())
    data[60:70] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(InputRefused, match=r"bent.zip:set/\d+.png: cannot be unpacked"):
        open_store(str(path), 16)


@pytest.mark.parametrize("damage", ["stream", "method", "password"])
def test_a_damaged_member_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"pixels " * 50)
        at = archive.filelist[0].header_offset
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\1\2")
    if damage == "stream":  # the length of the compressed stream stays
        raw[at + 30 + len("a.png")] = 0xFF
    else:
        field, value = (10, 99) if damage == "method" else (8, 1)
        raw[central + field], raw[at + field - 2] = value, value
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match=r"set.zip:a.png: cannot be unpacked \(.+\); pack it"):
        open_store(str(path), 16)


def test_a_zip_without_pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("words.txt", "none")
    with pytest.raises(InputRefused, match=r"empty.zip: holds no image"):
        open_store(str(tmp_path / "empty.zip"), 16)


def test_pictures_of_the_wrong_size(tmp_path):
    (tmp_path / "small.png").write_bytes(encoded(50, (7, 7)))
    expected = (
        r"small.png: is 7 x 7 pixels, the generator draws 16 x 16; "
        "take pictures of at least half that side"
    )
    with pytest.raises(InputRefused, match=expected) as caught:
        open_store(str(tmp_path), 16)
    assert caught.value.exit_code == 4


def test_pictures_all_over_a_store_are_looked_at(tmp_path):
    for number in range(40):
        side = 7 if number >= 30 else 16
        (tmp_path / f"{number:02d}.png").write_bytes(encoded(50, (side, side)))
    with pytest.raises(InputRefused, match=r"30.png: is 7 x 7 pixels"):
        open_store(str(tmp_path), 16)


def test_the_table_and_the_recipe_agree():
    named = TrainingPart.model_fields["reals"].annotation.__args__
    assert set(STORES) | {"generator", *TOYS} == set(named)
