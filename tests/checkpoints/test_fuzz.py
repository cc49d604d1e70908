"""Mutated files of every format: refused or opened, nothing else (see fuzz.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize(
    ("count", "seed"),
    [(100, 0), pytest.param(20_070, 1, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
)
def test_mutated_files_are_refused_or_opened(count, seed, tmp_path):
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--count", str(count), "--seed", str(seed)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout)
    assert summary["failures"] == []
    assert sum(summary["tally"].values()) == count
    refused = {kind for kind in summary["tally"] if kind.endswith("refused")}
    assert len(refused) == 10, "every format was mutated"
    assert list(tmp_path.iterdir()) == [], "something was executed or written"
