import json
from dataclasses import replace

import numpy as np
import pytest

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.segmenter.model import open_segmenter
from l4f_datagen.segmenter.run import Material, held_out_miou, licence_of, material_of, run_training
from l4f_datagen.segmenter.training import Arrays, Plan, new_training
from l4f_datagen.segmenter.training_set import TrainingSet, is_held_out

PLAN = Plan(steps=6, batch=4, width=2, depth=3)


@pytest.fixture
def make_material(make_arrays):
    def make(held_out=2, **facts):
        samples, licence = make_arrays(6), Licence("x", "", False)
        part = Arrays(samples.images[:held_out], samples.alphas[:held_out])
        return Material(samples, part, 16, "disc", licence, {"domain": "d", **facts})

    return make


def log_of(file):
    return [json.loads(line) for line in (file.parent / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_network_facts_and_log(make_material, tmp_path):
    file = run_training(make_material(), PLAN, tmp_path / "run", save_every=4)
    names = {path.name for path in file.parent.iterdir()}
    assert names == {"segmenter.safetensors", "segmenter.json", "log.jsonl", "training-id", "lock"}
    segmenter = open_segmenter(file)
    assert (segmenter.size, segmenter.category, segmenter.network.width) == (16, "disc", 2)
    facts = json.loads((file.parent / "segmenter.json").read_text())
    assert facts["licence"] == {"name": "x", "link": "", "commercial": False}
    assert facts["dataset"] == segmenter.training["dataset"] == {"domain": "d"}
    assert facts["plan"]["steps"] == 6
    assert facts["held_out_miou"] == held_out_miou(segmenter.network, make_material().held_out)
    assert [line["step"] for line in log_of(file)] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in log_of(file) if "held_out_miou" in line] == [4, 6]
    file = run_training(make_material(held_out=0), PLAN, tmp_path / "unscored")
    assert json.loads((file.parent / "segmenter.json").read_text())["held_out_miou"] is None


def test_a_stopped_run_resumes_to_the_same_bytes(make_material, tmp_path, caplog):
    whole = run_training(make_material(), PLAN, tmp_path / "whole", save_every=2)

    class Failing(Arrays):
        """Samples that cannot be read any more after five batches."""

        seen: list = []  # noqa: RUF012

        def batch(self, picked):
            self.seen.append(picked)
            if len(self.seen) > 5:
                raise KeyboardInterrupt
            return super().batch(picked)

    material = make_material()
    failing = Failing(material.train.images, material.train.alphas)
    with pytest.raises(KeyboardInterrupt):
        run_training(replace(material, train=failing), PLAN, tmp_path / "run", save_every=2)
    assert (tmp_path / "run" / "state.pt").exists()
    file = run_training(material, PLAN, tmp_path / "run", save_every=3)
    assert "resuming segmenter training at step 4" in caplog.messages
    assert file.read_bytes() == whole.read_bytes()
    assert [line["loss"] for line in log_of(whole)] == [line["loss"] for line in log_of(file)]
    assert run_training(material, PLAN, tmp_path / "run") == file
    assert "is trained already" in caplog.messages[-1]


def test_a_folder_belongs_to_one_plan_and_one_set(make_material, tmp_path):
    run_training(make_material(), PLAN, tmp_path / "run")
    for material, plan in (
        (make_material(), replace(PLAN, seed=1)),
        (make_material(domain="other"), PLAN),
        (replace(make_material(), size=32), PLAN),
    ):
        with pytest.raises(UsageError, match="holds a training on other samples or with other"):
            run_training(material, plan, tmp_path / "run")


def test_the_held_out_score_is_the_pooled_miou(make_arrays):
    samples, network = make_arrays(3), new_training(PLAN).network
    network.out.weight.data.zero_()
    network.out.bias.data.fill_(1.0)  # all object
    share = float((samples.alphas > 0.5).mean())
    assert held_out_miou(network, samples) == pytest.approx(share / 2)


def make_training_set(keys, manifest):
    return TrainingSet("there", keys, lambda place: (b"", b""), manifest, "f00", "recipe: 1\n")


def test_samples_are_split_by_their_keys():
    keys = [f"psi1000-seed{n:07d}" for n in range(40)]
    samples = make_training_set(keys, {"category": "cat"})
    samples.batch = list  # of the places that are asked for
    material = material_of(samples)
    parts = (material.train, material.held_out)
    learnt, held_out = (set(part.batch(np.arange(len(part)))) for part in parts)
    assert learnt | held_out == set(range(40))
    assert not learnt & held_out
    assert 0 < len(held_out) < 10
    assert material.category == "cat"
    assert material.facts["manifest_sha256"] == "f00"
    assert material.facts["recipe"] == "recipe: 1\n"
    few = next([f"k{n}"] for n in range(99) if is_held_out(f"k{n}", 0.1))
    with pytest.raises(InputRefused, match="there: holds 1 samples, too few to learn from"):
        material_of(make_training_set(few, {}))


@pytest.mark.parametrize(
    ("manifest", "licence"),
    [
        ({}, None),
        ({"licence": {"name": "", "url": ""}}, None),
        ({"licence": {"name": "mit", "url": "u"}}, Licence("mit", "u", False)),
        ({"provenance": {"licence": {"name": "mit", "link": None, "commercial": True}}},
         Licence("mit", "", True)),
        ({"licence": {"name": "cc-by-4.0", "link": "u", "attribution": "A. Author"}},
         Licence("cc-by-4.0", "u", False, "A. Author")),
    ],
)  # fmt: skip
def test_the_licence_is_the_dataset_s(manifest, licence):
    assert licence_of(manifest) == licence
