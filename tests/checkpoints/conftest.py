"""Fixtures of the checkpoint tests: the factory of foreign files, and the reference files."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import CheckpointRefused


@pytest.fixture(scope="session")
def foreign():
    """The factory of checkpoints in foreign layouts."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("foreign.py"))))


@pytest.fixture
def run_alone():
    """Runs a file of these tests as a script, in an empty folder that must stay empty."""

    def run(script, arguments, folder):
        root = str(Path(__file__).parents[2])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
        command = [sys.executable, script, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert list(folder.iterdir()) == [], "something was executed or written"
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def refused(tmp_path, foreign):
    """Checks that a value, as torch.save or pickle writes it, is refused with these words."""

    def check(value, said, opener=open_generator, *, pickled=False, **options):
        write = foreign.write_pickle if pickled else foreign.write_torch
        path = write(tmp_path / "refused", value)
        with pytest.raises(CheckpointRefused, match=said) as caught:
            opener(path, **options)
        return str(caught.value)

    return check


@pytest.fixture(scope="session")
def reference_dir():
    """Folder of the reference checkpoints and what the reference code makes of them."""
    root = os.environ.get("L4F_SHARED")
    if root is None:
        pytest.skip("L4F_SHARED is not set: no reference checkpoints here")
    return Path(root) / "fixtures" / "checkpoints"


@pytest.fixture(scope="session")
def manifest(reference_dir):
    """File name -> entry of the reference manifest."""
    entries = json.loads((reference_dir / "manifest.json").read_text())["files"]
    return {entry["file"]: entry for entry in entries}
