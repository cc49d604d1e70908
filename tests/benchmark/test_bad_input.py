import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError

KEYS = [f"psi1000-seed050000{k}" for k in range(3)]
REMEDY = "write masks as images, the object 255, the rest 0"


@pytest.fixture
def write_masks(tmp_path):
    """Factory: a folder of masks of the three images."""

    def write(name, keys=KEYS, size=32, level=255):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((size, size), np.uint8)
        mask[4:12, 6:20] = level
        for key in keys:
            Image.fromarray(mask).save(folder / f"{key}.png")
        return folder

    return write


@pytest.fixture
def measured(make_config, write_masks):
    """A benchmark of ``otsu`` that has run."""
    config = make_config(domain="custom", methods=("otsu",), truth=write_masks("truth"))
    run_benchmark(config)
    return config


def refused(config, kind, match):
    with pytest.raises(kind, match=match):
        run_benchmark(config)
    assert not (config.out / "networks").exists()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"methods": ("ful",)}, r"--methods ful: no such method; did you mean full\?"),
        ({"methods": ("xyz",)}, "--methods xyz: no such method; choose from given-weights, full, "),
        ({"methods": ("otsu", "otsu")}, "--methods otsu: is given twice"),
        ({"psis": (0.7, 0.7001)}, "two of them agree to three decimals; keep psi at least 0.001"),
        ({"external": {"full": "x"}}, "--pred full: is the name of a method; choose another name"),
        ({"domain": "custom"}, "nothing says where the object is in images of custom; give --tr"),
    ],
)
def test_settings_that_cannot_be(make_config, fields, match):
    config = make_config(**fields)
    refused(config, UsageError, match)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("supervised", "needs renders with exact masks, which toy domains alone have"),
        ("unrelated-backgrounds", "needs unrelated images: give --unrelated DIR"),
        ("otsu", "needs skimage: pip install scikit-image scikit-learn"),
    ],
)
def test_methods_that_cannot_run_here(make_config, write_masks, monkeypatch, name, match):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    truth = write_masks("truth")
    refused(make_config(domain="custom", methods=(name,), truth=truth), UsageError, match)


def test_masks_of_a_tool_are_scored_and_read_again(make_config, write_masks):
    truth, soft = write_masks("truth"), write_masks("soft")
    for path in soft.iterdir():  # grey levels, cut at the middle
        levels = np.where(np.asarray(Image.open(path)), 128, 0) + np.arange(32) * 3
        Image.fromarray(levels.astype(np.uint8)).save(path)
    config = make_config(domain="custom", methods=(), truth=truth, external={"rembg": soft})
    assert "rembg, psi 1  1.0000/1.0000  1.0000" in run_benchmark(config)
    for path in soft.iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert "rembg, psi 1  0.0000/0.0000  0.0000" in run_benchmark(config)


def cut_outs(folder):
    for path in folder.iterdir():
        image = Image.new("RGB", (32, 32), (200, 30, 40))
        image.putalpha(Image.open(path))
        image.save(path)


def broken(folder):
    path = folder / f"{KEYS[2]}.png"
    path.write_bytes(path.read_bytes()[:60])


def twice(folder):
    Image.open(folder / f"{KEYS[0]}.png").save(folder / f"{KEYS[0]}.bmp")


@pytest.mark.parametrize(
    ("shape", "spoil", "kind", "match"),
    [
        ({}, cut_outs, AnnotationRefused, f"a coloured .*; {REMEDY} " r"\(rembg: -om\)$"),
        ({}, broken, AnnotationRefused, f"{KEYS[2]}.png: is damaged"),
        ({}, twice, InputRefused, f"tool: holds two masks of {KEYS[0]}"),
        ({"keys": KEYS[:1]}, None, InputRefused,
         f"tool: lacks 2 of 3 masks, the first {KEYS[1]}.png; make one for every image"),
        ({"size": 30}, None, InputRefused,
         f"tool: {KEYS[0]}: is 30 x 30 pixels, its image 32 x 32"),
        ({"level": 1}, None, InputRefused,
         "none of 3 masks has an object; write the object as 255, the rest as 0"),
    ],
)  # fmt: skip
def test_masks_of_a_tool_that_cannot_be_used(make_config, write_masks, shape, spoil, kind, match):
    folder = write_masks("tool", **shape)
    if spoil:
        spoil(folder)
    refused(make_config(external={"rembg": folder}), kind, match)


def test_an_export_in_place_of_a_tools_masks(make_config, tmp_path):
    export = tmp_path / "coco.json"
    export.write_text('{"images": [], "annotations": [], "categories": []}')
    match = f"holds objects, not levels; {REMEDY}"
    refused(make_config(external={"rembg": export}), AnnotationRefused, match)


def test_grey_levels_in_a_truth(make_config, write_masks, caplog):
    truth = write_masks("truth")
    path = truth / f"{KEYS[0]}.png"
    stray = np.array(Image.open(path))
    stray[0, 0] = 90
    Image.fromarray(stray).save(path)
    config = make_config(domain="custom", methods=(), truth=truth)
    with caplog.at_level("INFO", "l4f_datagen"):
        run_benchmark(config)
    assert "truth: 1 stray pixels neither 0 nor 255 cut at 127" in caplog.text
    Image.fromarray(np.arange(32, dtype=np.uint8) * np.ones((32, 1), np.uint8)).save(path)
    refused(config, AnnotationRefused, f"32 grey levels .* in a mask; {REMEDY}$")


def test_another_truth_is_refused(measured):
    for path in measured.truth.iterdir():
        Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path)
    with pytest.raises(UsageError, match="was measured with other settings"):
        run_benchmark(measured)


@pytest.mark.parametrize("kind", ["cut", "size"])
def test_a_damaged_image(make_config, write_masks, kind):
    config = make_config(domain="custom", methods=("otsu",), truth=write_masks("truth"))
    run_benchmark(replace(config, images_only=True))
    path = config.out / "images" / f"{KEYS[0]}.png"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        Image.open(path).resize((16, 16)).save(path)
    match = {"cut": "is damaged", "size": "is 16 x 16 pixels, expected 32 x 32"}
    refused(config, InputRefused, match[kind])


def test_a_damaged_row(measured):
    path = measured.out / "rows" / "otsu-seed0-psi1000.json"
    row = json.loads(path.read_text())
    fewer = json.dumps(row | {"counts": row["counts"][:2]})
    for text, problem in (
        ("{}", "is not a row of a benchmark"),
        ("null", "is not a row of a benchmark"),
        ("[1", "is not a row of a benchmark"),
        (fewer, "counts 2 of 3 images"),
    ):
        path.write_text(text)
        refused(measured, UsageError, f"psi1000.json: {problem}; remove it")


def test_the_command_line(make_config, write_masks, tmp_path):
    config = make_config(domain="custom")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.recipe.dump())
    truth, bad = write_masks("truth"), write_masks("bad", KEYS[:1])

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
