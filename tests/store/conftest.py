import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def discs():
    """The names of ``tests/discs.py``."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "discs.py")))
