"""The plan's words through the whole line: latents, mixing, presets, splits, probes."""

import shutil
from itertools import chain

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.native import save_discriminator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.rendering.latents import open_latents

PIXELS = ("images", "masks", "alpha")


@pytest.fixture(autouse=True)
def unfiltered(tiny_recipe):
    tiny_recipe["filters"] = {"preset": "none"}
    tiny_recipe["output"] = {"mask_threshold": 0.45, "formats": ["png"]}


@pytest.fixture
def pixels_of(tmp_path):
    """Function: folder -> the bytes of its pictures."""

    def read(folder):
        out = tmp_path / folder
        files = chain.from_iterable((out / part).rglob("*.png") for part in PIXELS)
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}

    return read


@pytest.fixture
def drawn_w(tiny_recipe, tmp_path):
    """A file with the w of the seeds 0 to 5, which the tool would draw itself."""
    generator = open_generator(tiny_recipe["generator"]["weights"]).build()
    z = np.stack([np.random.RandomState(seed).randn(8) for seed in range(6)])
    w = generator.mapping(torch.from_numpy(z.astype(np.float32)))
    # This generator has 6 layers: as 6 x 8 the file could be one W+ code as well.
    np.save(tmp_path / "w.npy", w[:, None].numpy())
    torch.save(w[:, None].clone(), tmp_path / "w.pt")
    return tmp_path / "w.npy"


def test_the_w_of_the_seeds_give_their_pictures_whatever_file_holds_them(
    make, tiny_recipe, pixels_of, rows_of, drawn_w
):
    sampling = tiny_recipe["sampling"]
    sampling["same_seeds"] = True
    make("seeds")
    sampling["latents"] = str(drawn_w)
    make("latents", 4)
    sampling["latents"] = str(drawn_w.with_suffix(".pt"))  # the same values go on
    manifest = make("latents")
    assert pixels_of("latents") == pixels_of("seeds")
    assert [row["key"] for row in rows_of("latents")] == [row["key"] for row in rows_of("seeds")]
    assert manifest["provenance"]["latents"] == {"sha256": open_latents(str(drawn_w)).sha256}
    other = np.load(drawn_w)
    other[5] += 1e-3
    np.save(drawn_w, other)
    sampling["latents"] = str(drawn_w)
    with pytest.raises(UsageError, match="holds a dataset of another recipe"):
        make("latents")


def test_the_discriminator_beside_the_generator_filters_and_names_the_dataset(
    make, tiny_recipe, rows_of, tmp_path
):
    generator = tmp_path / "generator.safetensors"
    shutil.copy(tiny_recipe["generator"]["weights"], generator)
    tiny_recipe["generator"]["weights"] = str(generator)
    tiny_recipe["filters"] = {"preset": "none", "discriminator": {"min": 1e9}}
    hashes = []
    for level in (0.1, 0.2):
        judge = Discriminator(16, open_generator(generator).spec.channels)
        for parameter in judge.parameters():
            torch.nn.init.constant_(parameter, level)
        save_discriminator(tmp_path / "discriminator.safetensors", judge)
        hashes.append(make(f"by{level}", 3, count="attempts")["provenance"]["recipe_hash"])
        assert {row["reason"] for row in rows_of(f"by{level}")} == {"discriminator_low"}
    assert hashes[0] != hashes[1]
    with pytest.raises(UsageError, match="holds a dataset"):
        make("by0.1", 6, count="attempts")


def test_strict_measures_and_rejects_and_bytes_come_again(make, tiny_recipe, pixels_of, rows_of):
    tiny_recipe["filters"] = {
        "preset": "strict",
        "coverage": None,
        "uncertainty": None,
        "border": None,
        "noise": {"min_iou": 0.9},
        "flip": {"min_iou": 0},
        "components": {"min_largest_share": 0.3},
    }
    manifest = make("one", 10, count="attempts")
    rows = rows_of("one")
    measured = {"noise_iou", "flip_iou", "duplicate_distance", "num_components"}
    assert all(measured <= set(row["scores"]) for row in rows)
    assert sum(manifest["counts"]["rejected"].values()) == 10 - manifest["counts"]["accepted"]
    make("two", 10, count="attempts")
    assert rows == rows_of("two")
    assert pixels_of("one") == pixels_of("two")


@pytest.mark.slow
def test_duplicates_leave_shorter_runs_the_head_of_longer_ones(
    make, tiny_recipe, pixels_of, rows_of
):
    tiny_recipe["filters"] = {"preset": "none", "duplicates": {"min_distance": 0.2}}
    tiny_recipe["sampling"]["psi"] = [0.05, 0.1, 1.0]  # nearly the same picture twice
    make("grown", 3)
    make("grown", 7)
    manifest = make("fresh", 7)
    assert manifest["counts"]["rejected"]["near_duplicate"] >= 7
    assert rows_of("grown") == rows_of("fresh")
    assert pixels_of("grown") == pixels_of("fresh")
