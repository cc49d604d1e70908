"""What a benchmark refuses, and its command line."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import InputRefused, UsageError


@pytest.fixture
def config(make_config, write_masks):
    """A benchmark of ``otsu`` alone, against given masks."""
    return make_config(domain="custom", methods=("otsu",), truth=write_masks("truth"))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"methods": ("ful",)}, r"--methods ful: no such method; did you mean full\?"),
        ({"methods": ("xyz",)}, "--methods xyz: no such method; choose from given-weights, full, "),
        ({"methods": ("otsu", "otsu")}, "--methods otsu: is given twice"),
        ({"psis": (0.7, 0.7001)}, "two of them agree to three decimals; keep psi at least 0.001"),
        ({"external": {"full": "x"}}, "--pred full: is the name of a method; choose another name"),
        ({"truth": None}, "nothing says where the object is in images of custom; give --tr"),
        ({"methods": ("supervised",)}, "needs renders with exact masks, which toy domains alone"),
        ({"methods": ("unrelated-backgrounds",)}, "needs unrelated images: give --unrelated DIR"),
        ({"methods": ("otsu",)}, "needs skimage: pip install scikit-image scikit-learn"),
    ],
)
def test_settings_that_cannot_be(config, monkeypatch, fields, match):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=match):
        run_benchmark(replace(config, **fields))
    assert not config.out.exists()


def test_another_truth_is_refused(config):
    run_benchmark(config)
    for path in config.truth.iterdir():
        Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path)
    with pytest.raises(UsageError, match="was measured with other settings"):
        run_benchmark(config)


def test_a_damaged_image(config):
    run_benchmark(replace(config, images_only=True))
    path = config.out / "images" / "psi1000-seed0500000.png"
    whole = path.read_bytes()
    Image.open(path).resize((16, 16)).save(path)
    with pytest.raises(InputRefused, match="is 16 x 16 pixels, expected 32 x 32"):
        run_benchmark(config)
    path.write_bytes(whole[:50])
    with pytest.raises(InputRefused, match=r"0500000.png: is damaged .*; remove or replace it"):
        run_benchmark(config)


def test_a_damaged_row(config):
    run_benchmark(config)
    path = config.out / "rows" / "otsu-seed0-psi1000.json"
    row = json.loads(path.read_text())
    fewer = json.dumps(row | {"counts": row["counts"][:2]})
    broken = dict.fromkeys(("{}", "null", "[1"), "is not a row of a benchmark")
    for text, problem in (broken | {fewer: "counts 2 of 3 images"}).items():
        path.write_text(text)
        with pytest.raises(UsageError, match=f"psi1000.json: {problem}; remove it"):
            run_benchmark(config)


def test_the_command_line(make_config, write_masks, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(make_config(domain="custom").recipe.dump())
    truth, bad = write_masks("truth"), write_masks("bad", 1)

    def run(*more):
        flags = ("--recipe", recipe, "--out", tmp_path / "out", "--images", 3, "--psi", "1.0")
        flags += ("--device", "cpu", "--methods", "otsu, colour-gmm", "--truth", truth)
        return CliRunner().invoke(cli, ["benchmark", *map(str, flags + more)])

    result = run("--pred", f"same={truth}")
    assert result.exit_code == 0, result.output
    assert re.search("same, psi 1 +1.0000/1.0000  1.0000", result.stdout)
    assert "otsu, training seed 0, psi1000: mIoU" in result.stderr
    assert (tmp_path / "out" / "tables.csv").is_file()
    expected = "expected name=DIR with a name such as rembg"
    too_many = "--training-seeds: got {}; give 1 to 1,000 seeds below 1,000,000, as 0-2"
    for code, more, said in (
        (4, ("--pred", f"rembg={bad}"), "lacks 2 of 3 masks"),
        (4, ("--unrelated", tmp_path / "none"), "none"),
        (2, ("--training-seeds", "0-"), too_many.format("0-")),
        (2, ("--training-seeds", "999999-1000000"), too_many.format("999999-1000000")),
        (2, ("--training-seeds", "3-1"), "--training-seeds: 3-1 runs backwards; write for exam"),
        (2, ("--pred", "rembg"), expected),
        (2, ("--pred", "=x"), expected),
        (2, ("--pred", "Re mbg=x"), expected),
        (2, ("--pred", "a=x", "--pred", "a=y"), "a is given twice"),
    ):
        refusal = run(*more)
        assert refusal.exit_code == code, refusal.output
        assert said in refusal.stderr
