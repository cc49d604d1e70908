import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.benchmark.run import run_benchmark
from l4f_datagen.cli import cli
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError

KEYS = [f"psi1000-seed050000{k}" for k in range(3)]


@pytest.fixture
def run():
    def call(*arguments):
        return CliRunner().invoke(cli, ["benchmark", *map(str, arguments)])

    return call


@pytest.fixture
def write_masks(tmp_path):
    """Factory: a folder of masks of the three pictures."""

    def write(name, keys=KEYS, size=32, level=255):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((size, size), np.uint8)
        mask[4:12, 6:20] = level
        for key in keys:
            Image.fromarray(mask).save(folder / f"{key}.png")
        return folder

    return write


def refused(job, kind, match, *, trained=False):
    with pytest.raises(kind, match=match):
        run_benchmark(job, print)
    assert (job.out / "networks").exists() == trained


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("ful",), r"--methods ful: no such method; did you mean full\?"),
        (("xyz",), "--methods xyz: no such method; choose from given-weights, full, "),
        (("otsu", "otsu"), "--methods otsu: is named twice"),
    ],
)
def test_unknown_methods(make_job, names, match):
    job = make_job(methods=names)
    refused(job, UsageError, match)
    assert not job.out.exists()


def test_psi_that_share_their_keys(make_job):
    job = make_job(psis=(0.7, 0.7001))
    refused(job, UsageError, "two of them agree to three decimals; keep psi at least 0.001 apart")


def test_stray_grey_in_a_truth_is_counted(make_job, write_masks, caplog):
    truth = write_masks("truth")
    path = truth / f"{KEYS[0]}.png"
    grey = np.array(Image.open(path))
    grey[0, 0] = 90
    Image.fromarray(grey).save(path)
    run_benchmark(make_job(domain="custom", methods=(), truth=truth))
    assert any(
        "truth: 1 stray pixels neither 0 nor 255 cut at 127" in line for line in caplog.messages
    )


def test_a_domain_without_truth(make_job):
    job = make_job(domain="custom")
    refused(job, UsageError, "nothing tells where the object is in pictures of custom; give --tr")
    assert not job.out.exists()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("supervised", "needs renders with exact masks, which toy domains alone have"),
        ("unrelated-backgrounds", "needs unrelated pictures: give --unrelated DIR"),
    ],
)
def test_methods_that_cannot_run_here(make_job, write_masks, name, match):
    truth = write_masks("truth")
    refused(make_job(domain="custom", methods=(name,), truth=truth), UsageError, match)


def test_a_missing_package(make_job, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(make_job(methods=("otsu",)), UsageError, r"needs skimage: pip install scikit-image")


def test_masks_from_outside_are_scored(make_job, write_masks):
    truth, soft = write_masks("truth"), write_masks("soft", level=200)
    job = make_job(domain="custom", methods=(), truth=truth, outside={"rembg": soft})
    text = run_benchmark(job, print)
    assert "rembg, psi 1  1.0000/1.0000  1.0000" in text
    for path in soft.iterdir():  # the tool has run again: nothing old is reported
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert "rembg, psi 1  0.0000/0.0000  0.0000" in run_benchmark(job, print)


def test_grey_levels_from_outside_are_cut_at_the_middle(make_job, write_masks):
    truth, soft = write_masks("truth"), write_masks("soft")
    for path in soft.iterdir():
        levels = np.where(np.asarray(Image.open(path)), 128, 0) + np.arange(32) * 3
        Image.fromarray(levels.astype(np.uint8)).save(path)
    job = make_job(domain="custom", methods=(), truth=truth, outside={"rembg": soft})
    assert "rembg, psi 1  1.0000/1.0000  1.0000" in run_benchmark(job, print)


def test_cut_outs_from_outside(make_job, write_masks):
    folder = write_masks("cut-outs")
    for path in folder.iterdir():
        picture = Image.new("RGB", (32, 32), (200, 30, 40))
        picture.putalpha(Image.open(path))
        picture.save(path)
    match = (
        "a coloured picture; write masks as pictures, the object 255, the rest 0 "
        r"\(rembg: -om\)$"
    )
    refused(make_job(outside={"rembg": folder}), AnnotationRefused, match)


def test_an_export_from_outside(make_job, tmp_path):
    export = tmp_path / "coco.json"
    export.write_text('{"images": [], "annotations": [], "categories": []}')
    match = "holds objects, not levels; write masks as pictures, the object 255, the rest 0"
    refused(make_job(outside={"rembg": export}), AnnotationRefused, match)


def test_grey_levels_in_a_truth(make_job, write_masks):
    truth = write_masks("truth")
    grey = np.arange(32, dtype=np.uint8) * np.ones((32, 1), np.uint8)
    Image.fromarray(grey).save(truth / f"{KEYS[0]}.png")
    match = "32 grey levels .* in a mask; write masks as pictures, the object 255, the rest 0$"
    refused(make_job(domain="custom", truth=truth), AnnotationRefused, match)


def test_masks_from_outside_that_lack_pictures(make_job, write_masks):
    folder = write_masks("some", KEYS[:1])
    match = f"some: lacks 2 of 3 masks, the first {KEYS[1]}.png; make one of every picture"
    refused(make_job(outside={"rembg": folder}), InputRefused, match)


def test_masks_of_another_size(make_job, write_masks):
    folder = write_masks("small", size=30)
    match = f"small: {KEYS[0]}: is 30 x 30 pixels, its picture 32 x 32"
    refused(make_job(outside={"rembg": folder}), InputRefused, match)


def test_a_broken_mask(make_job, write_masks):
    folder = write_masks("broken")
    path = folder / f"{KEYS[2]}.png"
    path.write_bytes(path.read_bytes()[:60])
    refused(make_job(outside={"rembg": folder}), AnnotationRefused, f"{KEYS[2]}.*cut or broken")


def test_masks_that_are_all_empty(make_job, write_masks):
    folder = write_masks("ids", level=1)
    match = "none of 3 masks has an object; write the object as 255, the rest as 0"
    refused(make_job(outside={"rembg": folder}), InputRefused, match)


def test_two_masks_of_one_picture(make_job, write_masks):
    folder = write_masks("twice")
    Image.open(folder / f"{KEYS[0]}.png").save(folder / f"{KEYS[0]}.bmp")
    match = f"twice: holds two masks of {KEYS[0]}"
    refused(make_job(outside={"rembg": folder}), InputRefused, match)


def test_a_tool_called_like_a_method(make_job, write_masks):
    job = make_job(outside={"full": write_masks("masks")})
    refused(job, UsageError, "--pred full: is the name of a method here; name it otherwise")


def test_another_truth_is_refused(make_job, write_masks):
    job = make_job(domain="custom", methods=("otsu",), truth=write_masks("one"))
    run_benchmark(job, print)
    for path in job.truth.iterdir():
        Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path)
    with pytest.raises(UsageError, match="was measured with other settings"):
        run_benchmark(job, print)


@pytest.mark.parametrize("kind", ["cut", "size"])
def test_a_damaged_picture(make_job, write_masks, kind):
    job = make_job(domain="custom", methods=("otsu",), truth=write_masks("truth"))
    run_benchmark(replace(job, images_only=True), print)
    path = job.out / "images" / f"{KEYS[0]}.png"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        Image.open(path).resize((16, 16)).save(path)
    match = {"cut": "is not a readable picture", "size": "is 16 x 16 pixels, expected 32 x 32"}
    with pytest.raises(InputRefused, match=match[kind]):
        run_benchmark(job, print)


@pytest.mark.parametrize("text", ["{}", "null", "[1"])
def test_a_row_that_is_none(make_job, write_masks, text):
    job = make_job(domain="custom", methods=("otsu",), truth=write_masks("truth"))
    run_benchmark(job, print)
    (job.out / "rows" / "otsu-seed0-psi1000.json").write_text(text)
    with pytest.raises(UsageError, match="is no row of a benchmark; remove it"):
        run_benchmark(job, print)


@pytest.mark.parametrize("kept", [0, 2])
def test_a_row_that_lacks_pictures(make_job, write_masks, kept):
    job = make_job(domain="custom", methods=("otsu",), truth=write_masks("truth"))
    run_benchmark(job, print)
    path = job.out / "rows" / "otsu-seed0-psi1000.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"counts": row["counts"][:kept]}))
    match = f"otsu-seed0-psi1000.json: counts {kept} of 3 pictures; remove it"
    with pytest.raises(UsageError, match=match):
        run_benchmark(job, print)


def test_the_command_line(run, make_job, write_masks, tmp_path):
    job = make_job(domain="custom")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(job.recipe.dump())
    truth, bad = write_masks("truth"), write_masks("bad", KEYS[:1])
    flags = ("--recipe", recipe, "--out", tmp_path / "out", "--images", 3, "--psi", "1.0")
    flags += ("--device", "cpu", "--methods", "otsu")
    result = run(*flags, "--truth", truth, "--pred", f"same={truth}")
    assert result.exit_code == 0, result.output
    assert "same, psi 1  1.0000/1.0000  1.0000" in result.stdout
    assert "otsu, training seed 0, psi1000: mIoU" in result.stderr
    assert (tmp_path / "out" / "tables.csv").is_file()

    spaced = run(*flags, "--methods", "otsu, colour-gmm", "--truth", truth)
    assert spaced.exit_code == 0, spaced.output

    refusals = {
        4: ("--truth", truth, "--pred", f"rembg={bad}"),
        2: ("--truth", truth, "--training-seeds", "0-"),
    }
    for code, more in refusals.items():
        refusal = run(*flags, *more)
        assert refusal.exit_code == code, refusal.output
        (line,) = [line for line in refusal.stderr.splitlines() if line.startswith("Error")]
        assert "; " in line
    for seeds in ("0-", "999999-1000000"):
        refusal = run(*flags, "--truth", truth, "--training-seeds", seeds)
        said = f"--training-seeds: got {seeds}; give 1 to 1,000 seeds below 1,000,000, as 0-2"
        assert said in refusal.stderr
    refusal = run(*flags, "--truth", truth, "--training-seeds", "3-1")
    assert "--training-seeds: 3-1 runs backwards; write for example --training-" in refusal.stderr
    refusal = run(*flags, "--truth", truth, "--unrelated", tmp_path / "none")
    assert refusal.exit_code == 4
    for text in ("rembg", "=x", "Re mbg=x"):
        refusal = run(*flags, "--pred", text)
        assert refusal.exit_code == 2
        assert "expected name=DIR with a name such as rembg" in refusal.stderr
    refusal = run(*flags, "--pred", "a=x", "--pred", "a=y")
    assert "a is given twice" in refusal.stderr
