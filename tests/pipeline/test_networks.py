"""What a file says of the labels its alpha network has seen goes into the provenance, checked."""

from types import SimpleNamespace

import pytest

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.pipeline.networks import UNLABELLED, keep_fitting_alpha, label_facts
from l4f_datagen.recipe.domains import load_recipe

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
