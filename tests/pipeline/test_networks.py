"""What a file says of the labels its alpha network has seen goes into the provenance, checked."""

import argparse
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from l4f_datagen import samples
from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.core.errors import CheckpointRefused
from l4f_datagen.pipeline import networks
from l4f_datagen.pipeline.networks import UNLABELLED, keep_fitting_alpha, label_facts
from l4f_datagen.recipe import check_recipe
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.training.verdict import verdict_of

SAID = {"unsupervised": False, "labels": 8, "supervision": "few-shot: fine-tuned on 8 images"}


@pytest.mark.parametrize(
    ("training", "facts"),
    [
        *((training, UNLABELLED) for training in (None, {}, {"recipe": {"steps": 3}})),
        ({**SAID, "recipe": {}}, SAID),
        ({"unsupervised": "no", "labels": True, "supervision": ["x"]}, UNLABELLED),
    ],
)
def test_only_what_labels_did_is_carried_along(training, facts):
    native = None if training is None else SimpleNamespace(training=training)
    assert label_facts(SimpleNamespace(native=native)) == facts
    assert UNLABELLED == {"unsupervised": True, "labels": 0, "supervision": ""}


@pytest.mark.parametrize("changed", [False, True])
def test_the_domains_alpha_network_is_kept_for_its_own_generator_alone(changed, tmp_path, caplog):
    shipped = open_generator("toy-cars")
    state = dict(shipped.complete_state)
    if changed:
        name = next(name for name in state if name.endswith("weight"))
        state[name] = state[name] + 0.5
    file = tmp_path / "copy.safetensors"
    save_generator(file, shipped.spec, state)
    recipe = load_recipe("toy-cars", generator=str(file), alpha__weights=None)
    kept = keep_fitting_alpha(recipe, "builtin:toy-cars")
    assert kept.alpha.weights == (None if changed else "builtin:toy-cars")
    assert (
        "is set aside" if changed else "its alpha network builtin:toy-cars is used"
    ) in caplog.text


SPOILT = {
    "grey": (0.01, 0.0, "the mattes are grey"),
    "soft": (0.3, 0.0, "the mattes are grey"),
    "empty": (1.0, -1e4, "100 % of the masks are empty"),
    "full": (1.0, 1e4, "100 % of the masks fill the image"),
}
FOREIGN = Path(__file__).parents[1] / "checkpoints" / "foreign.py"
GOOD = verdict_of(uncertainty=0.01, coverage=0.3, empty=0.0, full=0.0).to_dict()
GREY = verdict_of(uncertainty=0.42, coverage=0.5, empty=0.0, full=0.0).to_dict()


@pytest.fixture
def spoil(tiny_weights):
    """Scale and shift the last layer of the tiny alpha network, in its own file."""

    def write(how="grey", **training):
        path = Path(tiny_weights["alpha"]["weights"])
        opened = open_alpha(path)
        network = opened.build()
        scale, bias, _ = SPOILT[how]
        network.out.weight.data *= scale
        network.out.bias.data = network.out.bias.data * scale + bias
        fingerprint = opened.generator_fingerprint
        save_alpha(path, network, generator_fingerprint=fingerprint, training=training)
        return path

    return write


@pytest.fixture
def refused_line(cli_run, tmp_path):
    """Run ``make``, which refuses: one line, exit code 4, nothing written."""

    def run(*arguments):
        result = cli_run("make", "--n", 2, "--out", tmp_path / "out", *arguments)
        assert (result.exit_code, result.stdout) == (4, ""), result.output
        assert not list(tmp_path.glob("out*"))
        *said, line = result.stderr.splitlines()
        assert said in ([], ["opening the generator"])
        return line

    return run


@pytest.mark.parametrize("how", ["grey", "empty", "full"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_file_without_a_verdict_is_judged_and_refused(
    spoil, tiny_flags, refused_line, cli_run, tmp_path, how, dry
):
    path = spoil(how)
    line = refused_line(*tiny_flags, *dry)
    assert f"{path}: the alpha network is unusable: {SPOILT[how][2]}" in line
    assert "--accept-doubtful-alpha" in line
    flags = (*tiny_flags, "--filters", "none", "--accept-doubtful-alpha", *dry)
    accepted = cli_run("make", "--n", 2, "--out", tmp_path / "out", *flags)
    assert accepted.exit_code == 0
    assert "the alpha network is unusable" in accepted.stderr
    if how == "empty" and not dry:
        assert "Warning: 2 of 2 masks are empty" in accepted.stdout


@pytest.mark.parametrize(
    ("training", "refused"),
    [
        ({"verdict": GREY}, True),
        ({"verdict": GOOD}, False),  # what the training measured, with its own settings, counts
        ({"verdict": {"grade": "good"}}, True),
        ({"verdict": "good"}, True),
        ({"step": 3}, True),
    ],
)
def test_what_a_file_says_counts_where_it_can_be_read(
    make, spoil, tiny_recipe, tmp_path, training, refused
):
    spoil(**training)
    tiny_recipe["filters"] = {"preset": "none"}
    if not refused:
        assert make("out", 2)["counts"]["accepted"] == 2
        return
    recipe = check_recipe(tiny_recipe, "test")
    for work in (lambda: make("out", 2), lambda: samples(recipe)):
        with pytest.raises(CheckpointRefused, match="unusable: the mattes are grey"):
            work()
    assert not (tmp_path / "out").exists()
    assert next(samples(recipe, accept_doubtful_alpha=True)).alpha.shape == (16, 16)


def test_a_verdict_that_warns_lets_the_network_pass(make, spoil, caplog):
    """The tiny network is decided; less so it is doubtful, and a warning says it."""
    spoil("soft")
    make("out", 2)
    assert "the alpha network is doubtful: the mattes are grey" in caplog.text


def test_a_network_of_the_authors_code_is_judged(tiny_weights, spoil, refused_line, tmp_path):
    foreign = runpy.run_path(str(FOREIGN))
    value = foreign["labels4free_snapshot"](open_alpha(spoil("grey")).build())
    value["args"] = argparse.Namespace(size=16)
    path = foreign["write_torch"](tmp_path / "theirs.pt", value)
    assert open_alpha(path).native is None
    generator = tiny_weights["generator"]["weights"]
    line = refused_line("--alpha", path, "--generator", generator)
    assert f"{path}: the alpha network is unusable: the mattes are grey" in line


def test_large_images_are_judged_on_few_samples(spoil, tiny_flags, refused_line, monkeypatch):
    monkeypatch.setattr(networks, "JUDGED_PIXELS", 8)
    asked = []
    judge = networks.judge_alpha
    monkeypatch.setattr(
        networks, "judge_alpha", lambda *a, **k: asked.append(k["samples"]) or judge(*a, **k)
    )
    spoil("grey")
    assert "the mattes are grey" in refused_line(*tiny_flags)
    assert asked == [4]


def test_a_network_that_make_has_trained(cli_run, generator_file, tmp_path, monkeypatch):
    """Trained on the spot and grey: refused, at once and from the cache, and kept there."""
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    settings = ("steps=1", "batch=2", "min_bg_coverage=0.5", "self_training=0")
    flags = [f"--set=alpha.training.{setting}" for setting in settings]
    command = ("make", "--generator", generator_file, "--n", 2, "--out", tmp_path / "out", *flags)
    for extra in ((), (), ("--dry-run",)):
        result = cli_run(*command, *extra)
        assert result.exit_code == 1, result.output
        said = result.stderr.splitlines()[-1]
        assert "alpha.safetensors: the alpha network is unusable: the mattes are grey" in said
        assert not (tmp_path / "out").exists()
    accepted = cli_run(*command, "--accept-doubtful-alpha", "--filters", "none")
    assert accepted.exit_code == 0, accepted.output
