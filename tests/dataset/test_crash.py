"""SIGKILL, Ctrl-C and full disks: the next run ends in the bytes of an undisturbed one."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import l4f_datagen
from l4f_datagen.core.errors import L4FError

TESTS = Path(__file__).parents[1]


def run_python(*args):
    places = map(str, (Path(l4f_datagen.__file__).parents[1], TESTS))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


OTHERS = "imagefolder,webdataset,yolo"


@pytest.mark.parametrize(
    ("how", "more", "kills"),
    [
        ("fresh", [], 61),  # before every single change of the folder
        pytest.param("growing", [], 61, marks=pytest.mark.slow),
        ("random", [60], 60),
        ("random", [12, OTHERS], 12),
        pytest.param("fresh", [OTHERS], 100, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed(tmp_path, how, more, kills):
    run = run_python(TESTS / "crashes.py", how, tmp_path, *more)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["kills"] >= kills
    assert result["bad"] == []


@contextmanager
def small_disk(folder):
    """A file system of its own, whose size the test sets."""
    folder.mkdir()

    def resize(size, *options):
        options = ["-t", "tmpfs", *options, "-o", f"size={size}", "tmpfs", folder]
        return subprocess.run(["mount", *options], capture_output=True, check=False).returncode

    if os.geteuid() != 0 or resize("64k") != 0:
        pytest.skip("mounting a small disk takes root")
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}", folder], check=True
        )
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_at_every_stage(discs, tmp_path):
    """From no room at all, one page more each time, until it is enough."""
    discs.make_dataset(tmp_path / "undisturbed", 9)
    folder, stages = tmp_path / "disk/out", set()
    remedy = "make room and run the same command again: it goes on after the last finished shard"
    with small_disk(tmp_path / "disk") as resize:
        (tmp_path / "disk/film.mkv").write_bytes(bytes(8192))
        for pages in range(2, 1000):
            resize(f"{4 * pages}k")
            try:
                discs.make_dataset(folder, 9)
                break
            except L4FError as error:
                failure = error
            assert (type(failure), failure.exit_code) == (L4FError, 1)
            words = f"{folder}: no space left on the disk while (.*); {remedy}"
            stage = re.fullmatch(words, str(failure))[1]
            stages.add(stage)
            (tmp_path / "disk/film.mkv").unlink(missing_ok=True)
            if stage == "writing shard 0":  # no part and no half shard
                assert set(discs.files_of(folder)) == {".l4f/lock", ".l4f/run.json"}
        assert discs.files_of(folder) == discs.files_of(tmp_path / "undisturbed")
    found = {"opening it", "writing shard 0", "writing shard 1", "writing the indexes"}
    assert stages >= found


def test_a_limit_on_file_sizes_is_a_full_disk(discs, tmp_path):
    code = (
        "import discs, resource, sys\n"
        "from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "discs.make_dataset(Path(sys.argv[1]), 20)\n"
    )
    run = run_python("-c", code, tmp_path / "a")
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert "L4FError" in last
    assert "no space left on the disk while writing shard 0" in last
    assert "Exception ignored" not in run.stderr
    for name in "ab":
        discs.make_dataset(tmp_path / name, 20)
    assert discs.files_of(tmp_path / "a") == discs.files_of(tmp_path / "b")
