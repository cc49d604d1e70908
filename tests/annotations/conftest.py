import json
import os
from pathlib import Path

import numpy as np
import pytest
from annotation_exports import png

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused


@pytest.fixture
def fixtures() -> Path:
    shared = os.environ.get("L4F_SHARED")
    if not shared:
        pytest.skip("L4F_SHARED is unset: the annotation fixtures are not at hand")
    return Path(shared) / "fixtures" / "annotations"


@pytest.fixture
def saved(tmp_path):
    """Writes folders of files; arrays and images as PNG, records as JSON, the rest as it is."""

    def save(**folders):
        for folder, files in folders.items():
            for name, content in files.items():
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, np.ndarray):
                    content = png(content)
                elif isinstance(content, dict | list):
                    content = json.dumps(content)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return save


@pytest.fixture
def opened(saved):
    """Opens the truth in one file."""

    def call(content, name="t.json", **options):
        return load_annotations(saved(t={name: content}) / "t" / name, **options)

    return call


@pytest.fixture
def refused(opened, tmp_path):
    """Gives the one line with which the truth in one file is refused, opened or loaded."""

    def call(content, name="t.json", **options):
        with pytest.raises(AnnotationRefused) as caught:
            [item.load((20, 30)) for item in opened(content, name, **options)]
        line = str(caught.value)
        assert "\n" not in line
        assert caught.value.remedy
        return line.removeprefix(f"{tmp_path}/t/")

    return call
