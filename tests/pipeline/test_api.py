from itertools import product

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import L4FError
from l4f_datagen.pipeline.api import make_dataset, samples
from l4f_datagen.recipe import check_recipe


def test_samples_are_those_of_a_dataset(tiny_recipe, tmp_path, rows_of):
    recipe = check_recipe(tiny_recipe, "test")
    out = tmp_path / "out"
    make_dataset(recipe, out, 20, count="attempts", device="cpu")
    for row, sample in zip(rows_of(out), samples(recipe, device="cpu"), strict=False):
        assert (sample.key, sample.status) == (row["key"], row["status"])
        assert sample.scores == row["scores"]
        if sample.reason is None:
            with Image.open(out / f"masks/{row['shard']:05d}/{row['key']}.png") as mask:
                np.testing.assert_array_equal(np.asarray(mask) == 255, sample.mask)


@pytest.mark.parametrize("psi", [1.0, (0.5, 0.7)])
@pytest.mark.parametrize("seeds", ["3-4,9", [3, 4, 9], range(3, 5)])
def test_seeds_are_for_every_psi_and_one_psi_is_a_number(tiny_recipe, seeds, psi):
    found = list(samples(check_recipe(tiny_recipe, "test"), seeds, psi, device="cpu"))
    wanted = product([3, 4, 9][: len(seeds)] if seeds != "3-4,9" else [3, 4, 9], np.atleast_1d(psi))
    assert [(one.seed, one.psi) for one in found] == list(wanted)
    sample = found[0]
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (16, 16, 3))
    assert (sample.alpha.dtype, sample.mask.dtype) == (np.float32, np.bool_)


@pytest.mark.parametrize(("seeds", "psi"), [("x", 1.0), ([], 1.0), ([1, 1], 1.0), ("0-", 3.0)])
def test_what_makes_no_plan_is_refused_at_once(tiny_recipe, seeds, psi):
    with pytest.raises(L4FError):
        samples(check_recipe(tiny_recipe, "test"), seeds, psi, device="cpu")


def test_the_name_of_a_domain_is_enough(tmp_path):
    [sample] = samples("toy-cars", [7], 0.7, device="cpu", offline=True)
    assert (sample.key, sample.image.shape) == ("psi0700-seed0000007", (64, 64, 3))
    manifest = make_dataset("toy-cars", str(tmp_path / "cars"), 1, count="attempts", offline=True)
    assert manifest["counts"]["attempted"] == 1
    assert (tmp_path / "cars" / "report.html").exists()
