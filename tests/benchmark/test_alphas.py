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

LACKING = {"lowest_resolution": 100}
LACKS = (UsageError, "lowest_resolution: must be one of 8, 16, 32, got 100")
NO_REALS, NO_IMAGE = {"training": {"reals": "folder"}}, (InputRefused, "none: holds no image")
REMOTE = {"training": {"reals": "hf", "reals_folder": "hf://nobody/nothing"}}


@pytest.mark.parametrize(
    ("name", "parts", "refusal"),
    [
        ("full", {"alpha": LACKING}, LACKS),
        ("reals-generator", {"alpha": LACKING}, LACKS),
        ("segmenter", {"alpha": LACKING}, LACKS),
        ("taught", {"alpha": LACKING}, LACKS),
        ("full", NO_REALS, NO_IMAGE),
        ("unrelated-backgrounds", NO_REALS, NO_IMAGE),
        ("segmenter", NO_REALS, NO_IMAGE),
        ("full", {"alpha": {"background": "pictures"}}, NO_IMAGE),
        ("full", {"training": {"discriminator": "pretrained"}},
         (CheckpointRefused, "safetensors gives none")),
        ("full", REMOTE, (NetworkError, "nobody/no")),
        ("given-weights", {}, (CheckpointRefused, "was trained on another generator than")),
    ],
)  # fmt: skip
def test_trainings_that_cannot_be(make_config, make_alpha, tmp_path, name, parts, refusal):
    none = tmp_path / "none"
    none.mkdir()
    if parts is NO_REALS:
        parts = {"training": parts["training"] | {"reals_folder": str(none)}}
    elif "background" in parts.get("alpha", {}):
        parts = {"alpha": parts["alpha"] | {"background_path": str(none)}}
    config = make_config(methods=("otsu", name), offline=True, **parts)
    if name == "given-weights":
        network = make_alpha(open_generator(tmp_path / "generator.safetensors").build())
        save_alpha(tmp_path / "alpha.safetensors", network, generator_fingerprint="0" * 64)
    kind, match = refusal
    with pytest.raises(kind, match=match):
        run_benchmark(config)
    assert not config.out.exists()


@pytest.mark.parametrize("domain", TOYS)
def test_an_empty_ground_is_a_scene_without_its_subject(domain):
    scene, ground = render_scene(4, 64, domain), empty_ground(4, 64, domain)
    assert ground.shape == (64, 64, 3)
    # Far from the subject, and from its shadow, both are the same.
    same = (scene.image == ground).all(axis=2)
    # Hair reaches the upper border, no subject the upper corners.
    assert same[0].mean() > (0.5 if domain == "toy-portraits" else 0.9)
    assert not same[scene.alpha > 0.5].any()


def test_toy_domains_write_their_grounds_once_and_a_check_writes_nothing(make_config):
    bench = open_bench(make_config())
    METHODS["unrelated-backgrounds"].check(bench)
    assert not bench.config.out.exists()
    bench.config.out.mkdir()
    files = sorted(unrelated_folder(bench).iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[1]) as image:
        np.testing.assert_array_equal(image, empty_ground(1, 32, "toy-fish"))
    files[1].write_bytes(b"kept")
    unrelated_folder(bench)
    assert files[1].read_bytes() == b"kept"
    assert unrelated_name(bench) == "3 bare grounds of toy-fish"


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
