"""What a file says of the labels its alpha network has seen goes into the provenance, checked."""

from types import SimpleNamespace

import pytest

from l4f_datagen.pipeline.networks import UNLABELLED, label_facts

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
