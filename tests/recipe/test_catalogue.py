"""The catalogue: complete and consistent."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from l4f_datagen.core.errors import NetworkError
from l4f_datagen.recipe.catalogue import (
    NVIDIA_ADA,
    WEIGHTS,
    Weights,
    fetch_weights,
    weights_by_sha256,
)


@pytest.mark.parametrize("name", WEIGHTS)
def test_entries_are_whole(name):
    weights = WEIGHTS[name]
    assert re.fullmatch(r"https://[\w./-]+\.pkl", weights.url)
    assert weights.filename.endswith(".pkl")
    assert weights.resolution in [2**k for k in range(4, 11)]
    assert weights.licence.link.startswith("https://")
    assert weights.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
    assert not weights.pinned or None not in (weights.sha256, weights.size)


def test_files_and_hashes_are_told_apart():
    filenames = [weights.filename for weights in WEIGHTS.values()]
    assert len(set(filenames)) == len(filenames)
    for name, weights in WEIGHTS.items():
        if weights.sha256:
            assert weights_by_sha256(weights.sha256) is WEIGHTS[name]
    assert weights_by_sha256("0" * 64) is None


def test_the_papers_four_domains_are_pinned():
    for domain in ("ffhq", "car", "cat", "horse"):
        assert WEIGHTS[f"stylegan2-{domain}"].pinned


def test_entries_are_fetched_with_all_that_is_known(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    data = b"weights" * 100
    facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with serving.serve(data) as site:
        good = Weights(site.url, 16, NVIDIA_ADA, **facts, pinned=True)
        monkeypatch.setenv("L4F_CACHE", str(tmp_path / "1"))
        assert fetch_weights(good).read_bytes() == data
        bad = Weights(site.url, 16, NVIDIA_ADA, len(data), "0" * 64, pinned=True)
        monkeypatch.setenv("L4F_CACHE", str(tmp_path / "2"))
        with pytest.raises(NetworkError, match="is another file"):
            fetch_weights(bad)


def test_catalogue_and_download_do_not_import_torch():
    code = (
        "import sys, l4f_datagen.recipe.catalogue, l4f_datagen.io.download;"
        "assert 'torch' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
