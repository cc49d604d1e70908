import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def fixtures() -> Path:
    shared = os.environ.get("L4F_SHARED")
    if not shared:
        pytest.skip("L4F_SHARED is unset: the annotation fixtures are not at hand")
    return Path(shared) / "fixtures" / "annotations"


@pytest.fixture
def square():
    """The mask every reader test draws: rows 3 to 7, columns 2 to 8 of 20 x 30."""
    mask = np.zeros((20, 30), bool)
    mask[3:8, 2:9] = True
    return mask


@pytest.fixture
def as_png():
    def encode(array, **more) -> bytes:
        if array.dtype == bool:
            array = array.astype(np.uint8) * 255
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG", **more)
        return buffer.getvalue()

    return encode
