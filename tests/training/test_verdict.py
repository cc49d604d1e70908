"""The verdict on an alpha network: what it measures, and what it says."""

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.models.generator import draw_z
from l4f_datagen.recipe.domains import BUILTIN, load_recipe
from l4f_datagen.training.run import train_alpha
from l4f_datagen.training.selection import mean_iou
from l4f_datagen.training.verdict import judge_alpha, read_verdict, resembles_object, verdict_of

GOOD = {"uncertainty": 0.01, "coverage": 0.2, "empty": 0.0, "full": 0.0}


@pytest.mark.parametrize(
    ("change", "grade", "words"),
    [
        ({}, "good", "masks cover 20 % on average, uncertainty 0.010"),
        ({"coverage": 0.7, "uncertainty": 0.05}, "good", "masks cover 70 %"),
        ({"uncertainty": 0.12}, "doubtful", "the mattes are grey (uncertainty 0.120, mean"),
        ({"uncertainty": 0.42, "coverage": 0.45}, "unusable", "the mattes are grey"),
        ({"empty": 0.2}, "doubtful", "20 % of the masks are empty; train longer"),
        ({"empty": 1.0, "coverage": 0.0, "uncertainty": 0.0}, "unusable", "100 % of the masks are"),
        ({"full": 0.6}, "unusable", "60 % of the masks fill the image; train with another alpha"),
        ({"full": 0.2, "empty": 0.9}, "unusable", "90 % of the masks are empty, 20 % of the masks"),
        ({"full": 0.9, "empty": 0.2}, "unusable", "fill the image; train with another alpha"),
        ({"uncertainty": float("nan")}, "unusable", "the mattes are grey"),
        ({"object_in_ground": 0.4}, "doubtful", "in 40 % of the samples the muted background has"),
    ],
)
def test_grades(change, grade, words):
    verdict = verdict_of(**GOOD | change)
    assert verdict.grade == grade
    assert words in str(verdict)
    assert str(verdict).startswith(f"{grade}: ")
    assert read_verdict({"verdict": verdict.to_dict()}) == verdict or "nan" in str(verdict)


@pytest.mark.parametrize("training", [{}, {"verdict": 3}, {"verdict": {"grade": "good"}}])
def test_a_file_without_a_verdict(training):
    assert read_verdict(training) is None


@pytest.mark.parametrize(
    ("bias", "threshold", "expected"),
    [
        (0.0, 0.6, {"uncertainty": 0.5, "coverage": 0.5, "empty": 1.0, "full": 0.0}),
        (0.0, 0.4, {"uncertainty": 0.5, "coverage": 0.5, "empty": 0.0, "full": 1.0}),
        (30.0, 0.5, {"uncertainty": 0.0, "coverage": 1.0, "empty": 0.0, "full": 1.0}),
        (-30.0, 0.5, {"uncertainty": 0.0, "coverage": 0.0, "empty": 1.0, "full": 0.0}),
    ],
)
def test_what_is_measured(make_generator, make_alpha, bias, threshold, expected):
    generator = make_generator()
    network = make_alpha(generator)
    network.out.weight.data.zero_()
    network.out.bias.data.fill_(bias)
    verdict = judge_alpha(network, generator, threshold=threshold)
    assert verdict.grade == "unusable"
    assert {name: vars(verdict)[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_background_in_the_object_s_colour_is_noticed():
    images, grounds = torch.zeros(2, 3, 3, 8, 8)
    images[:, 0, 2:6, 2:6] = 1.0  # a red object on black
    alphas = 0.9 * images[:, :1]
    grounds[1, 0] = 0.9
    grounds[2, 1] = 0.9  # green: neither
    assert resembles_object(images, alphas, grounds).tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", BUILTIN)
def test_the_shipped_networks_are_good(name):
    folder = BUILTIN[name]
    generator = open_generator(folder / "generator.safetensors").build()
    network = open_alpha(folder / "alpha.safetensors").build()
    assert judge_alpha(network, generator, mute="conv1").grade == "good"
    noise = torch.Generator().manual_seed(0)
    network.out.weight.data = 0.02 * torch.randn(network.out.weight.shape, generator=noise)
    network.out.bias.data.zero_()
    assert judge_alpha(network, generator).grade == "unusable"


@pytest.mark.slow  # three minutes of one core
@pytest.mark.timeout(1800)
def test_a_short_training_agrees_with_the_shipped_network(tmp_path):
    """It fails if the balance breaks: each seed's masks are .93 to .94 against the truth."""
    told = {"alpha__training__steps": 120, "alpha__training__seed": 5}
    told |= {"alpha__weights": None, "alpha__training__reals": "generator"}
    checkpoint = open_generator("toy-cars")
    trained = train_alpha(load_recipe("toy-cars", **told), checkpoint, tmp_path, device="cpu")
    assert trained.verdict.grade != "unusable"
    assert np.isfinite(trained.verdict.uncertainty)
    generator = checkpoint.build()
    z = torch.from_numpy(draw_z(range(64), generator.spec.z_dim))
    with torch.no_grad():
        features = generator(z).features
        masks = [open_alpha(name).build()(features) > 0.5 for name in (trained.path, "toy-cars")]
    assert mean_iou(*masks) > 0.85
