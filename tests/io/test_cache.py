"""The cache: where it is, and what it makes of files that were put there by hand."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from l4f_datagen.core.errors import NetworkError
from l4f_datagen.io.cache import default_cache, target_path
from l4f_datagen.io.download import fetch

URL = "https://example.org/weights.pkl"
DATA = b"some weights"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"L4F_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/l4f-datagen")),
        ({"XDG_CACHE_HOME": ""}, Path("~/.cache/l4f-datagen").expanduser()),
        ({}, Path("~/.cache/l4f-datagen").expanduser()),
        ({"L4F_CACHE": "~/mine"}, Path("~/mine").expanduser()),
    ],
)
def test_where_it_is(environ: dict[str, str], folder: Path) -> None:
    assert default_cache(environ) == folder


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../b", "/b"])
def test_names_stay_inside(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        target_path(name, tmp_path)


def _put(cache: Path, data: bytes) -> Path:
    target = target_path("weights.pkl", cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def _get(cache: Path) -> Path:
    return fetch(
        URL,
        "weights.pkl",
        size=len(DATA),
        sha256=SHA256,
        pinned=True,
        cache_dir=cache,
        offline=True,
    )


def test_a_file_put_there_by_hand_is_used(tmp_path: Path) -> None:
    target = _put(tmp_path, DATA)
    assert _get(tmp_path) == target


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"other weight", "but has the sha256"), (b"short", "but has 5 bytes, expected 12")],
)
def test_another_file_put_there_is_refused_and_kept(data: bytes, said: str, tmp_path: Path) -> None:
    target = _put(tmp_path, data)
    with pytest.raises(NetworkError, match=f"is in the cache, {said}"):
        _get(tmp_path)
    assert target.read_bytes() == data


def test_the_hash_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    target = _put(tmp_path, DATA)
    _get(tmp_path)
    note = target.with_name("weights.pkl.checked.json")
    assert json.loads(note.read_text())["sha256"] == SHA256
    state = target.stat()
    target.write_bytes(b"other weight")
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    with pytest.raises(NetworkError, match="but has the sha256"):
        _get(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 1}'])
def test_a_damaged_note_is_made_again(text: str, tmp_path: Path) -> None:
    target = _put(tmp_path, DATA)
    note = target.with_name("weights.pkl.checked.json")
    note.write_text(text)
    assert _get(tmp_path) == target
    assert json.loads(note.read_text())["sha256"] == SHA256
