"""The plan's words through the whole line: latents, mixing, presets, splits, probes."""

from itertools import chain

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import UsageError
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


def test_the_w_of_the_seeds_give_the_pictures_of_the_seeds(
    make, tiny_recipe, pixels_of, rows_of, drawn_w
):
    tiny_recipe["sampling"]["same_seeds"] = True
    make("seeds")
    tiny_recipe["sampling"]["latents"] = str(drawn_w)
    manifest = make("latents")
    assert pixels_of("latents") == pixels_of("seeds")
    assert [row["key"] for row in rows_of("latents")] == [row["key"] for row in rows_of("seeds")]
    assert manifest["provenance"]["latents"] == {"sha256": open_latents(str(drawn_w)).sha256}


def test_another_file_with_the_same_values_goes_on_with_the_dataset(
    make, tiny_recipe, rows_of, drawn_w
):
    sampling = tiny_recipe["sampling"]
    sampling["latents"] = str(drawn_w)
    make("out", 4)
    sampling["latents"] = str(drawn_w.with_suffix(".pt"))
    make("out", 8)
    assert len(rows_of("out")) == 8
    other = np.load(drawn_w)
    other[5] += 1e-3
    np.save(drawn_w, other)
    sampling["latents"] = str(drawn_w)
    with pytest.raises(UsageError, match="holds a dataset of another recipe"):
        make("out", 8)


def test_strict_measures_and_rejects_and_bytes_come_again(make, tiny_recipe, pixels_of, rows_of):
    tiny_recipe["filters"] = {
        **{"preset": "strict", "coverage": None, "uncertainty": None, "border": None},
        **{"noise": {"min_iou": 0.9}, "flip": {"min_iou": 0}},
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


def test_style_mixing_and_cutoff_change_pictures_of_the_same_keys(make, tiny_recipe, pixels_of):
    make("plain", 6)
    plain, sampling = pixels_of("plain"), tiny_recipe["sampling"]
    # Nothing is truncated at psi 1, so a cutoff cannot show there.
    for part, number in (({"style_mixing": 1.0}, 6), ({"truncation_cutoff": 1}, 3)):
        [name] = part
        tiny_recipe["sampling"] = sampling | part
        make(name, 6)
        changed = pixels_of(name)
        assert changed.keys() == plain.keys()
        differing = [file for file in plain if changed[file] != plain[file]]
        assert len([file for file in differing if file.startswith("images")]) == number
