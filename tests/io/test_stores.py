import io
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile

import datasets
import huggingface_hub
import lmdb
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused, NetworkError, UsageError
from l4f_datagen.io.hf_store import load_from_hub
from l4f_datagen.io.stores import SAMPLED, STORES, listing_sha256, open_store, store_kind


def encoded(level, size=(16, 16), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(buffer, kind)
    return buffer.getvalue()


IMAGES = {f"{level}.png": encoded(level) for level in (50, 100, 150)}


def fill(path, entries, *, subdir=True):
    environment = lmdb.open(str(path), subdir=subdir, map_size=2**22)
    with environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode() if isinstance(key, str) else key, value)
    environment.close()
    return path


def rosinality(path, sizes=(16,)):
    images = {
        f"{size}-{number:05d}": encoded(level, (size, size), "JPEG")
        for size in sizes
        for number, level in enumerate((50, 100, 150))
    }
    return fill(path, {"length": b"3", **images})


def table(images):
    rows = {"label": list(range(len(images)))}  # a column that is no image
    rows["image"] = [{"bytes": data, "path": None} for data in images]
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


def write_store(kind, path, images=IMAGES):
    """A store of named images, the same bytes each time."""
    if kind in ("lmdb", "one.mdb"):
        return fill(path, images, subdir=kind == "lmdb")
    if kind == "saved":
        table(images.values()).save_to_disk(str(path))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in images.items():
                archive.writestr(name, data)
    elif kind == "hf":
        path.mkdir()
        table(images.values()).to_parquet(str(path / "train-00000.parquet"))
    else:
        for name, data in images.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


MAKERS = {
    "folder": ("folder", "folder"),
    "set.zip": ("zip", "zip"),
    "rosinality": ("lmdb", None),
    "lsun": ("lmdb", "lmdb"),
    "one.mdb": ("lmdb", "one.mdb"),
    "saved": ("hf", "saved"),
    "parquet": ("hf", "hf"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_store_is_recognised_and_read(name, tmp_path):
    kind, how = MAKERS[name]
    path = write_store(how, tmp_path / name) if how else rosinality(tmp_path / name)
    assert store_kind(str(path)) == kind
    store = open_store(str(path))
    assert len(store) == 3
    assert [store.size(k) for k in range(3)] == [(16, 16)] * 3
    images = [store.read(k) for k in range(3)]
    assert all(image.shape == (16, 16, 3) for image in images)
    assert sorted(round(float(image.mean()) / 10) * 10 for image in images) == [50, 100, 150]


def test_hidden_files_are_no_images_and_others_are_counted(tmp_path):
    names = ["a.png", "b.TIFF", "c.gif", "._a.png", ".hidden/d.png", "__MACOSX/e.png"]
    names += ["f.heic", "g.HEIC", "notes.txt", "README"]
    files = dict.fromkeys(names, b"x")
    for kind, name in (("folder", "set"), ("zip", "set.zip")):
        store = open_store(str(write_store(kind, tmp_path / name, files)))
        found = [store.subject(k).rpartition("/")[2] for k in range(len(store))]
        assert found == ["a.png", "b.TIFF", "c.gif"]
        assert store.ignored == {".heic": 2, ".txt": 1, "without ending": 1}


def test_names_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_kind("user/cats") == store_kind("hf://user/cats") == "hf"
    assert store_kind("./user/cats") == store_kind("nowhere") == "folder"
    (tmp_path / "photos").mkdir()
    assert store_kind("photos/cats") == store_kind("~/cats") == "folder"
    assert store_kind("hf://photos/cats") == "hf"
    with pytest.raises(InputRefused, match=r"^photos/cats: is not there; name a folder, a whole"):
        open_store("photos/cats")


def test_rosinality_takes_the_smallest_size_that_fills_the_canvas(tmp_path):
    path = str(rosinality(tmp_path / "db", sizes=(8, 32, 64)))
    for side, size in ((16, 32), (64, 64), (100, 64)):
        assert open_store(path, side=side).subject(0).endswith(f":{size}-00000")


def test_an_lmdb_that_is_cut_off(tmp_path):
    path = fill(tmp_path / "db", {f"{number:040x}": bytes(20_000) for number in range(9)})
    os.truncate(path / "data.mdb", 12_288)
    # In a process of its own: without the check it is killed as it reads beyond the end.
    code = "import sys; from l4f_datagen.io.stores import open_store; open_store(sys.argv[1])"
    words = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    said = r"InputRefused: \S+db: is cut off: 12,288 of \d{3},\d{3} bytes are there; copy or downl"
    assert result.returncode == 1
    assert re.search(said, result.stderr), result.stderr


def test_broken_entries_of_an_lmdb(tmp_path):
    path = fill(tmp_path / "db", {"length": b"2", "16-00000": b"words"})
    with pytest.raises(InputRefused, match=r"db:16-00001: is missing; make the LMDB again"):
        open_store(str(path)).read(1)
    with pytest.raises(InputRefused, match=r"db:16-00000: is not a readable image"):
        open_store(str(path)).read(0)


def test_without_the_lmdb_package(tmp_path, monkeypatch):
    path = write_store("lmdb", tmp_path / "db")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UsageError, match=r"needs the lmdb package; pip install lmdb"):
        open_store(str(path))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No dataset is known, and no folder here has its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    load_from_hub.cache_clear()
    yield
    load_from_hub.cache_clear()


LOUD = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]


@pytest.fixture
def records(caplog):
    """What the libraries log, which they keep from the root."""
    for logger in LOUD:
        logger.addHandler(caplog.handler)
    yield caplog.records
    for logger in LOUD:
        logger.removeHandler(caplog.handler)


def test_a_dataset_that_is_not_there_is_one_line(monkeypatch, records, elsewhere):
    def fail(name):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        logging.getLogger("datasets.load").error("no route")
        warnings.warn("no token", stacklevel=1)
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    levels = [logger.level for logger in LOUD]
    expected = r"user/cats: cannot be opened \(no route\); check the name and the network"
    with pytest.raises(NetworkError, match=expected) as caught:
        open_store("user/cats")
    assert caught.value.exit_code == 5
    assert not records
    assert levels == [logger.level for logger in LOUD]


JUNK = b"no database" * 1000
ABSENT = "absent: is not there; name a folder, a whole zip file, an LMDB or a Hugging Face data"
OTHERS = r"holds no image \(.png .bmp .tif .tiff .webp .gif .jpg .jpeg; ignored are 1 .heic\); nam"


@pytest.mark.parametrize(
    ("how", "files", "path", "told"),
    [
        *(("folder", {}, f"absent {kind}", ABSENT) for kind in ("folder", "zip", "lmdb", "None")),
        ("folder", {"deep.png/a.heic": b"x"}, "", OTHERS),  # in a folder, whatever its name
        ("folder", {"a.png": JUNK}, "a.png", "a.png: is no zip file; name a folder, a whole zip"),
        ("folder", {"data.mdb": JUNK}, "", r"is no LMDB \(.*\); name an LSUN or rosinality LMDB"),
        ("folder", {"a.parquet": b"broken"}, "", r"opened \(Parquet .*\); name a dataset with im"),
        ("lmdb", {}, "", r"set: holds no image .*; name photographs of the domain"),
        ("lmdb", {"length": b"0"}, "", "set: holds no image"),
        ("lmdb", {"length": b"7"}, "", "set: promises 7 images and holds none; name an LSUN or ro"),
        ("lmdb", {"length": b"-7"}, "", "set: has an impossible length b'-7'; name an LSUN or ros"),
        ("lmdb", {"length": b"9" * 30}, "", "set: has an impossible length"),
    ],
)
def test_what_holds_no_images_is_one_line(
    how, files, path, told, tmp_path, records, capfd, elsewhere
):
    place, _, kind = path.partition(" ")
    store = write_store(how, tmp_path / "set", files) / place
    with pytest.raises(InputRefused, match=told):
        open_store(str(store), None if kind in ("", "None") else kind)
    assert not records
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("offline", [True, False], ids=["option", "environment"])
def test_offline_nothing_is_asked_of_the_hub(offline, monkeypatch, elsewhere):
    def forbidden(*args, **kwargs):
        raise AssertionError("a request")

    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", forbidden)
    if not offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # read when imported
    expected = "user/cats: is not in the cache, and the network is switched off; open it once with"
    with pytest.raises(NetworkError, match=expected) as caught:
        open_store("user/cats", offline=offline)
    assert caught.value.exit_code == 5
    assert datasets.config.HF_HUB_OFFLINE is not offline
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_offline_a_dataset_in_the_cache_is_read(tmp_path, elsewhere):
    table([encoded(90)]).to_parquet(str(tmp_path / "train.parquet"))
    datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"))
    (made,) = (tmp_path / "cache" / "parquet").glob("*/*/*/dataset_info.json")
    kept = tmp_path / "cache" / "user___cats" / "default" / "0.0.0" / ("0" * 40)
    shutil.copytree(made.parent, kept)
    (kept / "parquet-train.arrow").rename(kept / "cats-train.arrow")
    (kept / "dataset_info.json").write_text(made.read_text().replace('"parquet"', '"cats"'))
    store = open_store("user/cats", offline=True)
    assert (store.read(0) == 90).all()


def test_a_dataset_of_the_hub_is_loaded_once(monkeypatch, elsewhere):
    asked, data = [], {"train": table([encoded(90)])}
    monkeypatch.setattr(datasets, "load_dataset", lambda name: asked.append(name) or data)
    for _ in range(2):
        assert len(open_store("hf://user/cats")) == 1
    assert asked == ["user/cats"]


@pytest.mark.parametrize("kind", STORES)
def test_images_name_a_store_and_no_clock_does(kind, tmp_path):
    write_store(kind, tmp_path / "one")
    first = listing_sha256(str(tmp_path / "one"), kind)
    copy = shutil.copytree if (tmp_path / "one").is_dir() else shutil.copyfile
    copy(tmp_path / "one", tmp_path / "copy")
    for path in (tmp_path / "copy", *(tmp_path / "copy").rglob("*")):
        os.utime(path, (1, 1))
    assert listing_sha256(str(tmp_path / "copy"), kind) == first
    write_store(kind, tmp_path / "more", IMAGES | {"c.png": encoded(50)})
    assert listing_sha256(str(tmp_path / "more"), kind) not in (None, first)
    write_store(kind, tmp_path / "other", IMAGES | {"50.png": encoded(70)})
    if kind != "lmdb":  # whose pages hide what is in them
        assert listing_sha256(str(tmp_path / "other"), kind) not in (None, first)


def test_of_many_images_sizes_count_and_the_bytes_of_a_few(tmp_path):
    many = {f"deep/{number:04d}.png": encoded(50) for number in range(4 * SAMPLED)}
    write_store("folder", tmp_path, many)
    seen, turned = {listing_sha256(str(tmp_path))}, encoded(50)[::-1]
    for name, data, number in (
        ("deep/0001.png", turned, 1),  # between two that are read
        ("notes.txt", b"words", 1),  # of another kind
        ("._a.png", b"words", 1),
        ("deep/0001.png", turned + b"x", 2),
        ("deep/0004.png", turned, 3),
    ):
        (tmp_path / name).write_bytes(data)
        seen.add(listing_sha256(str(tmp_path)))
        assert len(seen) == number


@pytest.mark.parametrize("path", ["absent", "user/cats", "absent.mdb"])
def test_what_cannot_be_listed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listing_sha256(path, "zip" if path == "absent" else None) is None
