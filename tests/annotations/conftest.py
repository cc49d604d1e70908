import os
from pathlib import Path

import pytest


@pytest.fixture
def fixtures() -> Path:
    shared = os.environ.get("L4F_SHARED")
    if not shared:
        pytest.skip("L4F_SHARED is unset: the annotation fixtures are not at hand")
    return Path(shared) / "fixtures" / "annotations"
