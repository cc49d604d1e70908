"""Formats survive what the first three survive; see ``dataset/test_crash.py``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import l4f_datagen

TESTS = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(Path(l4f_datagen.__file__).parents[1])}


@pytest.mark.parametrize(
    ("how", "kills"),
    [(["random", 12], 12), pytest.param(["fresh"], 100, marks=pytest.mark.slow)],
)
def test_killed_and_resumed(tmp_path, how, kills):
    command = [sys.executable, TESTS / "crashes.py", how[0], tmp_path, *how[1:]]
    command.append("imagefolder,webdataset,yolo")
    run = subprocess.run(
        list(map(str, command)), env=ENV, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["kills"] >= kills
    assert result["bad"] == []


def test_a_lost_file_is_made_again(discs, tmp_path):
    formats = ["imagefolder", "webdataset", "yolo"]
    discs.make_dataset(tmp_path, 9, formats=formats, blocks=discs.split_blocks)
    before = discs.files_of(tmp_path)
    (tmp_path / "webdataset/val-00000.tar").unlink()
    [label, *_] = sorted((tmp_path / "yolo/labels/train").iterdir())[-1:]
    label.write_bytes(b"")
    notes = discs.make_dataset(tmp_path, 9, formats=formats, blocks=discs.split_blocks)
    assert [note[:8] for note in notes] == ["shard 0:", "shard 1:"]
    assert discs.files_of(tmp_path) == before
