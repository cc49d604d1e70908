"""Ablations: their backgrounds, and refusals before a folder is claimed or anything is measured."""

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.benchmark.alphas import empty_ground, unrelated_folder, unrelated_name
from l4f_datagen.benchmark.methods import METHODS
from l4f_datagen.benchmark.run import open_bench, run_benchmark
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import CheckpointRefused, InputRefused, NetworkError, UsageError
from l4f_datagen.toys.scene import TOYS, render_scene


def refused(config, kind, match):
    with pytest.raises(kind, match=match):
        run_benchmark(config)
    assert not config.out.exists()


@pytest.mark.parametrize("name", ["full", "reals-generator", "segmenter", "taught"])
def test_a_resolution_that_the_generator_lacks(make_config, name):
    config = make_config(methods=("otsu", name), alpha={"lowest_resolution": 100})
    refused(config, UsageError, "lowest_resolution: must be one of 8, 16, 32, got 100")


@pytest.mark.parametrize(
    ("name", "training", "kind", "match"),
    [
        ("full", {"reals": "folder"}, InputRefused, "reals: holds no image"),
        ("unrelated-backgrounds", {"reals": "folder"}, InputRefused, "reals: holds no image"),
        ("segmenter", {"reals": "folder"}, InputRefused, "reals: holds no image"),
        ("full", {"discriminator": "pretrained"}, CheckpointRefused, "safetensors gives none"),
        ("full", {"reals": "hf", "reals_folder": "hf://nobody/nothing"}, NetworkError, "nobody/no"),
    ],
)
def test_trainings_that_cannot_be(make_config, tmp_path, name, training, kind, match):
    (tmp_path / "reals").mkdir()
    if training.get("reals") == "folder":
        training = training | {"reals_folder": str(tmp_path / "reals")}
    config = make_config(methods=("otsu", name), training=training, offline=True)
    refused(config, kind, match)


def test_backgrounds_that_are_none(make_config, tmp_path):
    (tmp_path / "none").mkdir()
    backgrounds = {"background": "pictures", "background_path": str(tmp_path / "none")}
    config = make_config(methods=("otsu", "full"), alpha=backgrounds)
    refused(config, InputRefused, "none: holds no image")


def test_given_weights_of_another_generator(make_config, make_alpha, tmp_path):
    config = make_config(methods=("otsu", "given-weights"))
    network = make_alpha(open_generator(tmp_path / "generator.safetensors").build())
    save_alpha(tmp_path / "alpha.safetensors", network, generator_fingerprint="0" * 64)
    refused(config, CheckpointRefused, "was trained on another generator than")


def test_a_empty_ground_is_a_scene_without_its_subject():
    for domain in TOYS:
        scene, ground = render_scene(4, 64, domain), empty_ground(4, 64, domain)
        assert ground.shape == (64, 64, 3)
        # Far from the subject, and from its shadow, both are the same.
        same = (scene.image == ground).all(axis=2)
        # Hair reaches the upper border, no subject the upper corners.
        assert same[0].mean() > (0.5 if domain == "toy-portraits" else 0.9)
        assert not same[scene.alpha > 0.5].any()


def test_toy_domains_write_their_grounds_once(make_config):
    config = make_config()
    config.out.mkdir()
    bench = open_bench(config)
    folder = unrelated_folder(bench)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[1]) as image:
        np.testing.assert_array_equal(image, empty_ground(1, 32, "toy-fish"))
    files[1].write_bytes(b"kept")
    unrelated_folder(bench)
    assert files[1].read_bytes() == b"kept"
    assert unrelated_name(bench) == "3 bare grounds of toy-fish"


def test_a_check_writes_nothing(make_config):
    config = make_config()
    METHODS["unrelated-backgrounds"].check(open_bench(config))
    assert not config.out.exists()


def test_a_folder_is_named_by_what_it_holds(make_config, tmp_path):
    names = []
    for place, content in (("one", b"abc"), ("two", b"abc"), ("three", b"abcd")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.png").write_bytes(content)
        (tmp_path / place / "notes.txt").write_text(place)
        bench = open_bench(make_config(unrelated=tmp_path / place))
        assert unrelated_folder(bench) == tmp_path / place
        names.append(unrelated_name(bench))
    assert names[0] == names[1] != names[2]
