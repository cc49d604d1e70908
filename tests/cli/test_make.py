"""What ``make`` plans and writes, opened by the readers users have; generators of any format."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from PIL import Image
from pycocotools.coco import COCO

from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.dataset.formats.backgrounds import foreground_rgb
from l4f_datagen.recipe import check_recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import renderer_of

FORMATS = {
    "png": ("PNG", ".png", "PNG"),
    "webp": ("WEBP", ".webp", "WebP, lossless"),
    "jpeg": ("JPEG", ".jpg", "JPEG, quality 95, 4:4:4"),
}
"""Image format to Pillow's name of it, the ending of the files and what the card says."""
NUMBER = 6


@pytest.fixture
def planned(told, generator_file, tmp_path):
    """Function: flags -> what a dry run says."""
    words = ("make", "--generator", generator_file, "--n", 40, "--out", tmp_path / "out")
    return lambda *flags: told(*words, *flags, "--dry-run")


def test_a_dry_run_prints_the_plan_and_touches_nothing(planned, done, tmp_path, generator_file):
    np.save(tmp_path / "it's.npy", np.zeros((40, 8), np.float32))
    flags = ["--latents", tmp_path / "it's.npy", "--latent-space", "z", "--truncation-cutoff", 3]
    flags += ["--style-mixing", 0.25, "--psi", "0.5:1,0.7:2", "--seeds", "7,0-3"]
    given = yaml.safe_load(planned(*flags, "--n", 5)["recipe"])["sampling"]
    names = ("latents", "latent_space", "truncation_cutoff", "style_mixing", "psi", "seeds")
    wanted = [str(tmp_path / "it's.npy"), "z", 3, 0.25, [0.5, 0.7, 0.7], "7,0-3"]
    assert [given[name] for name in names] == wanted
    plan = planned()
    assert (plan["samples"], plan["count"], plan["first"]) == (
        40,
        "accepted",
        "psi0500-seed0000000",
    )
    assert yaml.safe_load(plan["recipe"])["sampling"]["block_size"] == 32
    assert plan["seconds"] > 0
    assert plan["images_per_second"] > 0
    assert 0 < plan["disk_bytes"] < plan["free_bytes"]
    words = ("make", "--generator", generator_file, "--n", 40, "--out", tmp_path / "out")
    text = done(*words, "--dry-run").stdout
    assert 9 <= len(text.splitlines()) <= 11
    assert "images/s on cpu" in text
    assert "sampling:" not in text
    assert not (tmp_path / "out").exists()


def test_presets(planned):
    coverage = {"min": 0.3, "max": 0.95}
    strict = (coverage | {"max": 0.8}, {"max": 0.05})
    for preset, limits in {
        "none": (None, None),
        "default": (coverage, None),
        "strict": strict,
    }.items():
        plan = planned("--set", "filters.coverage.min=0.3", "--filters", preset)
        filters = yaml.safe_load(plan["recipe"])["filters"]
        assert filters["preset"] == preset
        assert (filters["coverage"], filters["uncertainty"]) == limits


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_smaller_number_is_refused_before_anything_is_deleted(
    tiny_flags, cli_run, done, tmp_path, dry
):
    command = ["make", *tiny_flags, "--filters", "none", "--out", tmp_path / "out"]
    done(*command, "--n", 5)
    for more in ((), ("--count", "attempts")):
        result = cli_run(*command, "--n", 3, *more, *dry)
        assert result.exit_code == 2
        assert "--n 3 would delete 2 of them" in result.stderr
    done(*command, "--n", 3, "--overwrite", *dry)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    command[-1] = tmp_path / "mine"
    assert cli_run(*command, "--n", 3, *dry).exit_code == 2


def test_weights_still_to_be_fetched_are_no_error_of_a_dry_run(done, cli_run):
    words = ("make", "--generator", "catalogue:ada-cifar10", "--n", 5, "--out", "x", "--dry-run")
    assert "a file of unknown size from https://nvlabs" in done(*words).output
    result = cli_run(*words, "--alpha", "none.pt")
    assert result.exit_code == 4
    assert "none.pt: cannot be read" in result.output


@pytest.fixture
def make(done, tiny_recipe, tmp_path):
    """Function: flags -> the folder that ``make`` wrote."""

    def call(*flags):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny_recipe))
        done("make", "--recipe", path, "--n", NUMBER, "--out", tmp_path / "out", *flags)
        return tmp_path / "out"

    return call


@pytest.fixture
def again(tiny_recipe):
    """Function: a row of the ledger, more of the recipe -> its sample, rendered by itself."""

    def render(row, **output):
        recipe = check_recipe(tiny_recipe | {"output": tiny_recipe["output"] | output}, "test")
        generator = open_generator(recipe.generator.weights).build()
        renderer = renderer_of(recipe, generator, open_alpha(recipe.alpha.weights).build())
        [sample] = renderer.render([Draw(row["image_id"], row["psi"], row["seed"])])
        return sample

    return render


def accepted_rows(out):
    rows = map(json.loads, (out / "ledger.jsonl").read_text().splitlines())
    return {row["key"]: row for row in rows if row["status"] == "accepted"}


def levels_apart(first, second):
    return np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max()


@pytest.mark.parametrize("image_format", FORMATS)
def test_image_formats_through_every_reader_and_in_the_card(make, again, tmp_path, image_format):
    out = make("--image-format", image_format)
    kind, suffix, words = FORMATS[image_format]
    card = (out / "README.md").read_text()
    assert f"| image files | images {words}; masks and alphas PNG |" in card
    assert ("not the exact pixels of the generator" in card) == (image_format == "jpeg")
    rows = accepted_rows(out)
    loaded = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    coco = COCO(str(out / "annotations/instances_train.json"))
    assert len(loaded) == len(coco.imgs) == len(rows) == NUMBER
    for row, entry in zip(loaded, coco.imgs.values(), strict=True):
        sample = again(rows[row["key"]])
        assert entry["key"] == row["key"]
        assert entry["file_name"].endswith(f"{row['key']}{suffix}")
        with Image.open(out / "images" / entry["file_name"]) as stored:
            assert (stored.format, stored.mode) == (kind, "RGB")
            assert levels_apart(stored, row["image"]) == 0
        # JPEG of noise, which a generator with drawn weights makes, is far from exact.
        assert levels_apart(row["image"], sample.image) <= (60 if image_format == "jpeg" else 1)
        assert [row[part].format for part in ("image", "mask", "alpha")] == [kind, "PNG", "PNG"]
        mask = np.asarray(row["mask"])
        assert set(np.unique(mask)) <= {0, 255}
        assert np.mean((mask == 255) != sample.mask) < 0.01
        [annotation] = coco.imgToAnns[entry["id"]]
        np.testing.assert_array_equal(coco.annToMask(annotation) * 255, mask)
        assert levels_apart(row["alpha"], np.rint(sample.alpha * 255)) <= 1
        assert (out / annotation["alpha_file"]).exists()


def test_composites_over_the_generators_own_backgrounds(make, again, digests):
    flags = ("--composites", "generated", "--cutouts", "--image-format", "webp")
    out = make(*flags)
    assert "objects also over the generator's own backgrounds" in (out / "README.md").read_text()
    rows = accepted_rows(out)
    files = sorted((out / "composites").rglob("*.webp"))
    assert {path.stem for path in files} == set(rows)
    changed = []
    for path in files:
        sample = again(rows[path.stem], composites="generated")
        alpha = sample.alpha[..., None]
        colours = foreground_rgb(sample.image, sample.alpha)
        wanted = alpha * colours + (1 - alpha) * sample.background
        with Image.open(path) as composite:
            assert (composite.format, composite.mode) == ("WEBP", "RGB")
            assert levels_apart(composite, np.rint(wanted)) <= 2
            changed.append(levels_apart(composite, sample.image))
        with Image.open(out / "rgba" / path.relative_to(out / "composites")) as cutout:
            assert cutout.mode == "RGBA"
            assert levels_apart(cutout, np.dstack([colours, 255 * sample.alpha])) <= 2
    assert min(changed) > 3
    whole = digests(out)
    files[0].unlink()  # it resumes to the same bytes
    assert digests(make(*flags)) == whole


def test_composites_over_a_folder_whose_name_has_lines(make, tmp_path):
    folder = tmp_path / "two\n\n lines: 'x'"
    folder.mkdir()
    Image.new("RGB", (16, 16), (0, 99, 0)).save(folder / "a.png")
    out = make("--composites", folder)
    assert len(list((out / "composites").rglob("*.png"))) == NUMBER
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["output"]["composites_folder"] == str(folder)
    assert make("--composites", folder) == out


def test_make_then_validate_scores_the_dataset_against_itself(done, told, tmp_path, generator_file):
    flags = ["make", "--generator", generator_file, "--n", 3, "--out", tmp_path / "out"]
    small = ("steps=2", "batch=2", "self_training=1")
    flags += [f"--set=alpha.training.{value}" for value in small]
    flags += ["--set", "filters.coverage=null", "--mask-threshold", "0.5"]
    flags += ["--accept-doubtful-alpha"]  # two steps train nothing
    assert "3 samples of 3 attempts" in done(*flags).output
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert b"Trained for this dataset, without labels, in 2 steps." in page
    [preview] = (tmp_path / "cache" / "alpha").glob("*/preview-final.png")
    assert (tmp_path / "out" / "training.png").read_bytes() == preview.read_bytes()
    done("report", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    scored = told("validate", "--truth", tmp_path / "out/masks", "--pred", tmp_path / "out")
    assert scored["scores"]["accuracy"] == 1.0


GENERATORS = {
    "ada_64.pkl": "ada_64_expected.npz",
    "sg3repo_32.pkl": "sg3repo_32_expected.npz",
    "rosinality_64_converted.pt": "rosinality_64_expected.npz",
    "rosinality_64_trained.pt": "rosinality_64_expected.npz",
    "tf_64.pkl": "ada_64_expected.npz",
}
SHARED = Path(os.environ.get("L4F_SHARED", "")) / "fixtures" / "checkpoints"
needs_shared = pytest.mark.skipif(
    "L4F_SHARED" not in os.environ, reason="L4F_SHARED is not set: no reference checkpoints here"
)


def bad_files():
    if "L4F_SHARED" not in os.environ:
        return []
    files = json.loads((SHARED / "manifest.json").read_text())["files"]
    bad = [f["file"] for f in files if f.get("expect", {}).get("result") == "refuse"]
    # Without an averaged generator the one last trained is used, and said.
    return [name for name in bad if not name.startswith("no_g_ema")]


@needs_shared
@pytest.mark.parametrize("name", GENERATORS)
def test_any_format_draws_the_reference_pictures_and_is_labelled(done, tmp_path, name):
    words = ("--seeds", "0-3", "--psi", "1", "--out", tmp_path / "drawn")
    done("sample", "--generator", SHARED / name, *words)
    wanted = image_to_uint8(np.load(SHARED / GENERATORS[name])["img_psi1.0"])
    for seed, picture in enumerate(wanted):
        with Image.open(tmp_path / "drawn" / f"psi1000-seed{seed:07d}.png") as drawn:
            assert levels_apart(drawn, picture.transpose(1, 2, 0)) <= 1
    small = ("training.steps=1", "training.batch=1", "training.self_training=0")
    words = ["--n", 2, "--out", tmp_path / "out", *(f"--set=alpha.{value}" for value in small)]
    words += ["--set", "filters.coverage=null"]
    words += ["--accept-doubtful-alpha"]  # one step trains nothing
    done("make", "--generator", SHARED / name, *words)
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 2


@needs_shared
@pytest.mark.parametrize("name", bad_files())
def test_bad_files_are_one_line_and_exit_4(cli_run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = cli_run("make", "--generator", SHARED / name, "--n", 2, "--out", tmp_path / "out")
    assert result.exit_code == 4
    assert result.output.startswith(f"Error: {SHARED / name}: ")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@needs_shared
def test_convert_keeps_every_bit_and_inspect_tells_both(cli_run, done, told, tmp_path):
    source, target = SHARED / "ada_64.pkl", tmp_path / "g.safetensors"
    done("convert", source, target)
    drawn = []
    for path in (source, target):
        out = tmp_path / path.suffix
        done("sample", "--generator", path, "--seeds", "0-1", "--psi", "0.7", "--out", out)
        drawn.append({path.name: path.read_bytes() for path in out.glob("*.png")})
    assert len(drawn[0]) == 2
    assert drawn[0] == drawn[1]
    before, after = (told("inspect", "checkpoint", path) for path in (source, target))
    assert before["resolution"] == after["resolution"] == 64
    assert before["format"] != after["format"]
    again = cli_run("convert", source, target)
    assert again.exit_code != 0
    assert str(target) in again.output
