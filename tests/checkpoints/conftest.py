"""Fixtures of the checkpoint tests: the factory of foreign files, and the reference files."""

import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def foreign():
    """The factory of checkpoints in foreign layouts."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("foreign.py"))))


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
