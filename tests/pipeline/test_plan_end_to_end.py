"""The plan's words through the whole line: latents, mixing, presets, splits, probes."""

import json

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import check_recipe
from l4f_datagen.rendering.latents import open_latents

PIXELS = ("images", "masks", "alpha")


@pytest.fixture
def data(tiny_recipe):
    return tiny_recipe | {
        "filters": {"preset": "none"},
        "output": {"mask_threshold": 0.45, "formats": ["png"]},
    }


def make(data, out, number=6, **options):
    return make_dataset(MakeConfig(check_recipe(data, "test"), out, number, **options))


def rows_of(out):
    return [json.loads(row) for row in (out / "ledger.jsonl").read_text().splitlines()]


def pixels_of(out):
    files = sorted(path for part in PIXELS for path in (out / part).rglob("*.png"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture
def drawn_w(data, tmp_path):
    """A file with the w of the seeds 0 to 5, which the tool would draw itself."""
    generator = open_generator(data["generator"]["weights"]).build()
    z = np.stack([np.random.RandomState(seed).randn(8) for seed in range(6)])
    w = generator.mapping(torch.from_numpy(z.astype(np.float32)))
    # This generator has 6 layers: as 6 x 8 the file could be one W+ code as well.
    np.save(tmp_path / "w.npy", w[:, None].numpy())
    torch.save(w[:, None].clone(), tmp_path / "w.pt")
    return tmp_path / "w.npy"


class TestLatents:
    def test_the_w_of_the_seeds_give_the_pictures_of_the_seeds(self, data, tmp_path, drawn_w):
        data["sampling"]["same_seeds"] = True
        make(data, tmp_path / "seeds", number=12)
        data["sampling"]["latents"] = str(drawn_w)
        manifest = make(data, tmp_path / "latents", number=12)
        assert pixels_of(tmp_path / "latents") == pixels_of(tmp_path / "seeds")
        keys = [row["key"] for row in rows_of(tmp_path / "latents")]
        assert keys == [row["key"] for row in rows_of(tmp_path / "seeds")]
        sha256 = open_latents(str(drawn_w)).sha256
        assert manifest["provenance"]["latents"] == {"sha256": sha256}

    def test_another_file_with_the_same_values_goes_on_with_the_dataset(
        self, data, tmp_path, drawn_w
    ):
        data["sampling"]["latents"] = str(drawn_w)
        make(data, tmp_path / "out", number=4)
        data["sampling"]["latents"] = str(drawn_w.with_suffix(".pt"))
        make(data, tmp_path / "out", number=8)
        assert len(rows_of(tmp_path / "out")) == 8
        other = np.load(drawn_w)
        other[5] += 1e-3
        np.save(drawn_w, other)
        data["sampling"]["latents"] = str(drawn_w)
        with pytest.raises(UsageError, match="holds a dataset of another recipe"):
            make(data, tmp_path / "out", number=8)


def test_strict_measures_and_rejects_and_bytes_come_again(data, tmp_path):
    data["filters"] = {"preset": "strict", "coverage": None, "uncertainty": None, "border": None}
    data["filters"] |= {
        "noise": {"min_iou": 0.9},
        "flip": {"min_iou": 0},
        "components": {"min_largest_share": 0.3},
    }
    manifest = make(data, tmp_path / "one", number=10, count="attempts")
    rows = rows_of(tmp_path / "one")
    measured = {"noise_iou", "flip_iou", "duplicate_distance", "num_components"}
    assert all(measured <= set(row["scores"]) for row in rows)
    assert sum(manifest["counts"]["rejected"].values()) == 10 - manifest["counts"]["accepted"]
    make(data, tmp_path / "two", number=10, count="attempts")
    assert rows == rows_of(tmp_path / "two")
    assert pixels_of(tmp_path / "one") == pixels_of(tmp_path / "two")


@pytest.mark.slow
def test_duplicates_leave_shorter_runs_the_head_of_longer_ones(data, tmp_path):
    data["filters"] = {"preset": "none", "duplicates": {"min_distance": 0.2}}
    data["sampling"] |= {"psi": [0.05, 0.1, 1.0]}  # nearly the same picture twice
    make(data, tmp_path / "grown", number=3)
    make(data, tmp_path / "grown", number=7)
    manifest = make(data, tmp_path / "fresh", number=7)
    assert manifest["counts"]["rejected"]["near_duplicate"] >= 7
    assert rows_of(tmp_path / "grown") == rows_of(tmp_path / "fresh")
    assert pixels_of(tmp_path / "grown") == pixels_of(tmp_path / "fresh")


def test_style_mixing_and_cutoff_change_pictures_of_the_same_keys(data, tmp_path):
    make(data, tmp_path / "plain")
    plain = pixels_of(tmp_path / "plain")
    for name, part in (("mixed", {"style_mixing": 1.0}), ("cut", {"truncation_cutoff": 1})):
        make(data | {"sampling": data["sampling"] | part}, tmp_path / name)
        changed = pixels_of(tmp_path / name)
        assert changed.keys() == plain.keys()
        differing = [file for file in plain if changed[file] != plain[file]]
        # Nothing is truncated at psi 1, so a cutoff cannot show there.
        assert len([f for f in differing if f.startswith("images")]) == (
            6 if name == "mixed" else 3
        )
