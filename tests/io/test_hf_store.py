"""Datasets of the Hub and of this disk: one line on stderr, and no request where none is wanted."""

import logging
import shutil
import warnings

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused, NetworkError
from l4f_datagen.io.hf_store import load_from_hub
from l4f_datagen.io.stores import open_store


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No dataset is known, and no folder here has its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    load_from_hub.cache_clear()
    yield
    load_from_hub.cache_clear()


@pytest.fixture
def records():
    """What the libraries log."""
    kept = []

    class Keep(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())

    loggers, handler = [logging.getLogger(k) for k in ("datasets", "huggingface_hub")], Keep()
    for logger in loggers:
        logger.addHandler(handler)
    yield kept
    for logger in loggers:
        logger.removeHandler(handler)


def rows():
    picture = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    return datasets.Dataset.from_dict({"image": [picture]}).cast_column("image", datasets.Image())


def test_a_dataset_without_images(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "words"))
    with pytest.raises(InputRefused, match=r"words: has no image column, only text; name another"):
        open_store(str(tmp_path / "words"), 16)


def test_a_dataset_that_is_not_there_is_one_line(monkeypatch, records):
    def fail(name):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        logging.getLogger("datasets.load").error("no route")
        warnings.warn("no token", stacklevel=1)
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    levels = [logging.getLogger(name).level for name in ("datasets", "huggingface_hub")]
    expected = r"user/cats: cannot be opened \(no route\); check the name and the network"
    with pytest.raises(NetworkError, match=expected) as caught:
        open_store("user/cats", 16)
    assert caught.value.exit_code == 5
    assert not records
    assert levels == [logging.getLogger(name).level for name in ("datasets", "huggingface_hub")]


def test_broken_parquet_is_one_line(tmp_path, records, capfd):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train-00000.parquet").write_bytes(b"broken")
    expected = r"set: cannot be opened \(Parquet .*\); name a dataset with images"
    with pytest.raises(InputRefused, match=expected):
        open_store(str(tmp_path / "set"), 16)
    assert not records
    assert capfd.readouterr().err == ""


def test_offline_nothing_is_asked_of_the_hub(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a request")

    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", forbidden)
    expected = (
        "user/cats: is not in the cache, and the network is switched off; "
        "open it once with the network on"
    )
    with pytest.raises(NetworkError, match=expected) as caught:
        open_store("user/cats", 16, offline=True)
    assert caught.value.exit_code == 5
    assert not datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_offline_by_the_environment_is_said_as_such(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # read from it when imported
    with pytest.raises(NetworkError, match="user/cats: is not in the cache, and the network is sw"):
        open_store("user/cats", 16)


def test_offline_a_dataset_in_the_cache_is_read(tmp_path):
    rows().to_parquet(str(tmp_path / "train.parquet"))
    datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"))
    (made,) = (tmp_path / "cache" / "parquet").glob("*/*/*/dataset_info.json")
    kept = tmp_path / "cache" / "user___cats" / "default" / "0.0.0" / ("0" * 40)
    shutil.copytree(made.parent, kept)
    (kept / "parquet-train.arrow").rename(kept / "cats-train.arrow")
    (kept / "dataset_info.json").write_text(made.read_text().replace('"parquet"', '"cats"'))
    store = open_store("user/cats", 16, offline=True)
    assert (store.read(0) == 90).all()


def test_a_dataset_of_the_hub_is_loaded_once(monkeypatch):
    asked = []

    def load(name):
        asked.append(name)
        return {"train": rows()}

    monkeypatch.setattr(datasets, "load_dataset", load)
    for _ in range(2):
        assert len(open_store("hf://user/cats", 16)) == 1
    assert asked == ["user/cats"]
