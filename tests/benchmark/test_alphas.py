"""What a training would refuse is refused before a folder is claimed and anything is measured."""

from dataclasses import replace

import pytest

from l4f_datagen.benchmark.alphas import changed
from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import CheckpointRefused, InputRefused, NetworkError, UsageError


def refused(job, kind, match):
    with pytest.raises(kind, match=match):
        run_benchmark(job, print)
    assert not job.out.exists()


@pytest.mark.parametrize("name", ["full", "reals-generator", "segmenter", "taught"])
def test_a_resolution_that_the_generator_lacks(make_job, name):
    job = make_job(methods=("otsu", name))
    part = changed(job.recipe.alpha, {"lowest_resolution": 100})
    job = replace(job, recipe=job.recipe.model_copy(update={"alpha": part}))
    refused(job, UsageError, "lowest_resolution: must be one of 8, 16, 32, got 100")


@pytest.mark.parametrize("name", ["full", "unrelated-backgrounds", "segmenter"])
def test_reals_that_are_none(make_job, tmp_path, name):
    reals = tmp_path / "reals"
    reals.mkdir()
    training = {"reals": "folder", "reals_folder": str(reals)}
    job = make_job(methods=("otsu", name), training=training)
    refused(job, InputRefused, "reals: holds no image")


def test_a_discriminator_that_the_checkpoint_lacks(make_job):
    job = make_job(methods=("otsu", "full"), training={"discriminator": "pretrained"})
    refused(job, CheckpointRefused, "generator.safetensors gives none")


def test_offline_reals_of_the_hub(make_job):
    training = {"reals": "hf", "reals_folder": "hf://nobody/nothing"}
    job = replace(make_job(methods=("otsu", "full"), training=training), offline=True)
    refused(job, NetworkError, "nobody/nothing")


def test_backgrounds_that_are_none(make_job, tmp_path):
    (tmp_path / "none").mkdir()
    job = make_job(methods=("otsu", "full"))
    backgrounds = {"background": "pictures", "background_path": str(tmp_path / "none")}
    part = changed(job.recipe.alpha, backgrounds)
    job = replace(job, recipe=job.recipe.model_copy(update={"alpha": part}))
    refused(job, InputRefused, "none: holds no image")


def test_given_weights_of_another_generator(make_job, make_alpha, tmp_path):
    job = make_job(methods=("otsu", "given-weights"))
    generator = open_generator(tmp_path / "generator.safetensors").build()
    given = tmp_path / "alpha.safetensors"
    save_alpha(given, make_alpha(generator), generator_fingerprint="0" * 64)
    refused(job, CheckpointRefused, "was trained on another generator than")
