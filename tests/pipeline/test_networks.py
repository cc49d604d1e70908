"""What a file says of the labels its alpha network has seen goes into the provenance, checked."""

from types import SimpleNamespace

from l4f_datagen.pipeline.networks import UNLABELLED, label_facts


def opened(training):
    return SimpleNamespace(native=None if training is None else SimpleNamespace(training=training))


def test_networks_that_say_nothing_are_unsupervised():
    for training in (None, {}, {"recipe": {"steps": 3}}):
        assert label_facts(opened(training)) == UNLABELLED
    assert UNLABELLED == {"unsupervised": True, "labels": 0, "supervision": ""}


def test_what_labels_did_is_carried_along():
    said = {"unsupervised": False, "labels": 8, "supervision": "few-shot: fine-tuned on 8 images"}
    assert label_facts(opened({**said, "recipe": {}})) == said


def test_values_of_another_kind_are_not_believed():
    odd = {"unsupervised": "no", "labels": True, "supervision": ["x"]}
    assert label_facts(opened(odd)) == UNLABELLED
