"""The cache, and downloads from a real server that drops, lies, refuses and changes."""

import hashlib
import json
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.io import download
from l4f_datagen.io.download import TRIES, default_cache, fetch, is_offline, target_path

DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = random.Random(1).randbytes(300_000)
WEIGHTS = "checkpoints/weights.pkl"
PART, NOTE = f"{WEIGHTS}.part", f"{WEIGHTS}.checked.json"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def site(serving):
    with serving.serve(DATA) as site:
        yield site


def drop(count):
    return lambda handler, _: handler.drop_after(count)


def status(code, **headers):
    return lambda handler, _: handler.status(code, **headers)


def get(url, cache, **options):
    """Fetch into a cache, with recorded instead of real pauses."""
    pauses = []
    known = {"size": len(DATA), "sha256": SHA256, "pinned": True, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download.time, "sleep", pauses.append)
        patch.setattr(download, "default_cache", lambda: cache)
        path = fetch(url, "weights.pkl", **known)
    return path, pauses


def files(cache):
    return {path.name for path in (cache / "checkpoints").iterdir()}


def ranges_of(site):
    return [asked.get("range") for asked in site.asked]


def test_a_file_is_fetched_once(site, tmp_path):
    path, pauses = get(site.url, tmp_path)
    assert path == tmp_path / WEIGHTS
    assert path.read_bytes() == DATA
    assert get(site.url, tmp_path) == (path, [])
    assert len(site.asked) == 1
    assert pauses == []
    assert files(tmp_path) == {"weights.pkl", "weights.pkl.checked.json", "weights.pkl.lock"}


@pytest.mark.parametrize(("drops", "each", "ranges"), [(2 * TRIES, 20_000, 1), (1, 100_000, 0)])
def test_dropped_connections_are_resumed_where_they_ended(drops, each, ranges, site, tmp_path):
    """While bytes come; a server without ranges sends all again."""
    site.ranges, site.faults = bool(ranges), [drop(each)] * drops
    path, pauses = get(site.url, tmp_path)
    assert path.read_bytes() == DATA
    assert ranges_of(site) == [None, *(f"bytes={each * (k + 1)}-" for k in range(drops))]
    assert len(pauses) == drops


@pytest.mark.parametrize("changed", [False, True])
def test_a_later_run_goes_on_or_starts_again_where_the_file_changed(changed, site, tmp_path):
    """Where the tag no longer matches, the server sends the new file whole."""
    site.data = OTHER if changed else DATA
    site.faults = [drop(100_000), status(404)]
    with pytest.raises(NetworkError, match="404"):
        get(site.url, tmp_path)
    assert (tmp_path / PART).stat().st_size == 100_000
    site.data, site.tag = DATA, '"v2"' if changed else '"v1"'
    assert get(site.url, tmp_path)[0].read_bytes() == DATA
    assert site.asked[-1]["range"] == "bytes=100000-"
    assert site.asked[-1]["if-range"] == '"v1"'


@pytest.mark.parametrize(
    ("part", "tag", "options", "ranges"),
    [
        # No tag: the mixture of both versions has another hash, and is fetched again from zero.
        (OTHER[:100_000], None, {}, ["bytes=100000-", None]),
        (OTHER[:100_000], None, {"sha256": None, "pinned": False}, [None]),
        (DATA, '"v1"', {}, ["bytes=300000-"]),
        (DATA + b"more", '"v1"', {}, ["bytes=300004-", None]),
    ],
    ids=["noticed by its hash", "neither tag nor hash", "complete", "too long"],
)
def test_parts_of_earlier_runs(part, tag, options, ranges, site, tmp_path):
    put(tmp_path, part, PART)
    site.tag = tag
    assert get(site.url, tmp_path, **options)[0].read_bytes() == DATA
    assert ranges_of(site) == ranges


@pytest.mark.parametrize(
    ("faults", "pauses"),
    [
        (map(status, (429, 500, 502)), [2, 4, 8]),
        (map(status, (503, 504, 408)), [2, 4, 8]),
        # Retry-After, within reason
        ([status(503, Retry_After=wait) for wait in ("7", "100000", "soon")], [7, 30, 8]),
    ],
)
def test_passing_troubles_are_waited_out(faults, pauses, site, tmp_path):
    site.faults = list(faults)
    path, paused = get(site.url, tmp_path)
    assert path.read_bytes() == DATA
    assert paused == pauses


@pytest.mark.parametrize(("code", "asked"), [(503, TRIES), (401, 1), (403, 1), (404, 1), (410, 1)])
def test_lasting_trouble_names_the_way_by_hand(code, asked, site, tmp_path):
    site.faults = [status(code)] * 50
    with pytest.raises(NetworkError, match=f"the server answered {code}") as caught:
        get(site.url, tmp_path)
    assert caught.value.exit_code == 5
    assert f"fetch {site.url} by hand and put it at {tmp_path / WEIGHTS}" in str(caught.value)
    assert len(site.asked) == asked


def test_nobody_answers(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(NetworkError, match=r"refused; 5 tries.*by hand and put it at"):
        get(f"http://127.0.0.1:{port}/weights.pkl", tmp_path)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (len(DATA), r"sha256.*\(removed\)"),
        *((n, f"should have {n} bytes, the server offers") for n in (len(DATA) - 1, len(DATA) + 1)),
    ],
)
def test_wrong_bytes_of_a_pinned_file_are_refused_or_removed(size, said, site, tmp_path):
    site.data = OTHER
    with pytest.raises(NetworkError, match=said):
        get(site.url, tmp_path, size=size)
    assert files(tmp_path) == {"weights.pkl.lock"}


def test_wrong_bytes_against_a_mirrors_hash_only_warn(site, tmp_path, caplog):
    site.data = OTHER
    for _ in range(2):  # said each time it is used
        caplog.clear()
        assert get(site.url, tmp_path, pinned=False)[0].read_bytes() == OTHER
        assert "than one mirror reported; used all the same" in caplog.text


def endless(handler, site):
    """Sends chunks without an announced length, more than the file has."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(10):
            handler.wfile.write(b"%x\r\n" % len(site.data) + site.data + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
    except ConnectionError:
        handler.close_connection = True


def test_a_server_that_sends_more_is_cut_off(site, tmp_path):
    site.faults = [endless]
    with pytest.raises(NetworkError, match="the server sends more"):
        get(site.url, tmp_path)
    part = tmp_path / PART
    assert not part.exists() or part.stat().st_size <= len(DATA)


def test_a_server_that_sends_another_range_starts_again(site, tmp_path):
    def other_range(handler, site):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-9/{len(site.data)}")
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(site.data[:10])

    site.faults = [drop(50_000), other_range]
    assert get(site.url, tmp_path)[0].read_bytes() == DATA


def test_redirects_stay_on_the_web_which_alone_is_asked(site, tmp_path):
    (tmp_path / "secret").write_bytes(DATA)
    site.faults = [status(302, Location=f"file://{tmp_path / 'secret'}")]
    with pytest.raises(NetworkError, match="unsupported protocol 'file://'"):
        get(site.url, tmp_path / "cache")
    for url in ("file:///etc/hostname", "ftp://example.org/x", "no address"):
        with pytest.raises(NetworkError, match="neither http nor https"):
            get(url, tmp_path / "cache")
    site.faults = [status(302, Location=site.url)]
    assert get(site.url, tmp_path / "cache")[0].read_bytes() == DATA


def test_four_at_once_fetch_once(site, tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: fetch(site.url, "w.pkl").read_bytes(), range(4)))
    assert got == [DATA] * 4
    assert len(site.asked) == 1


@pytest.mark.parametrize("offline", [True, False], ids=["argument", "environment"])
def test_offline_uses_the_cache_alone(offline, site, tmp_path, monkeypatch):
    if not offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match=r"switched off; fetch http.*by hand"):
        get(site.url, tmp_path, offline=offline)
    assert not site.asked
    assert not (tmp_path / "checkpoints").exists()
    target = put(tmp_path, DATA)
    assert get(site.url, tmp_path, offline=offline)[0] == target


@pytest.mark.parametrize("value", ["1", "true", "YES", "on", "0", ""])
def test_offline_is_read_as_by_the_hub(value, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is (value not in ("0", ""))


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_said(site, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(L4FError, match=r"cannot be written.*L4F_CACHE"):
        get(site.url, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1 << 10))
    with pytest.raises(L4FError, match=r"0 MiB free, weights\.pkl") as caught:
        get(site.url, tmp_path / "full")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"L4F_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/l4f-datagen"),
        ({"XDG_CACHE_HOME": ""}, "~/.cache/l4f-datagen"),
        ({}, "~/.cache/l4f-datagen"),
        ({"L4F_CACHE": "~/mine"}, "~/mine"),
    ],
)
def test_where_the_cache_is(environ, folder, monkeypatch):
    for name in ("L4F_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(folder).expanduser()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../b", "/b"])
def test_names_stay_inside_the_cache(name):
    with pytest.raises(ValueError, match="plain file name"):
        target_path(name)


def put(cache, data, name=WEIGHTS):
    target = cache / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def cached(cache):
    return get("https://example.org/weights.pkl", cache, offline=True)[0]


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"sha256": 1}'])
def test_the_hash_is_kept_until_the_file_changes(note, tmp_path):
    """A damaged note is made again; another file that is put there is refused, and kept."""
    target = put(tmp_path, DATA)
    if note is not None:
        (tmp_path / NOTE).write_text(note)
    assert cached(tmp_path) == target
    assert json.loads((tmp_path / NOTE).read_text())["sha256"] == SHA256
    state = target.stat()
    for data, said in (
        (OTHER, "but has the sha256"),
        (b"short", "but has 5 bytes, expected 300000"),
    ):
        target.write_bytes(data)
        os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        with pytest.raises(NetworkError, match=f"is in the cache, {said}"):
            cached(tmp_path)
        assert target.read_bytes() == data
