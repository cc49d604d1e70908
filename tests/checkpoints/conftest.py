"""Fixtures of the checkpoint tests: the factory of foreign files, and the reference files."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    full = f"checkpoint_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def foreign() -> ModuleType:
    """The factory of checkpoints in foreign layouts."""
    return _load("foreign")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the reference checkpoints and what the reference code makes of them."""
    root = os.environ.get("L4F_SHARED")
    if root is None:
        pytest.skip("L4F_SHARED is not set: no reference checkpoints here")
    return Path(root) / "fixtures" / "checkpoints"


@pytest.fixture(scope="session")
def manifest(reference_dir: Path) -> dict[str, Any]:
    """File name -> entry of the reference manifest."""
    entries = json.loads((reference_dir / "manifest.json").read_text())["files"]
    return {entry["file"]: entry for entry in entries}
