"""What ``make`` writes when asked for more than the defaults, opened by the readers users have."""

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
        generator = open_generator(tiny_recipe["generator"]["weights"]).build()
        alpha = open_alpha(tiny_recipe["alpha"]["weights"]).build()
        renderer = renderer_of(recipe, generator, alpha)
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
        assert (row["mask"].format, row["alpha"].format) == ("PNG", "PNG")
        assert row["image"].format == kind
        mask = np.asarray(row["mask"])
        assert set(np.unique(mask)) <= {0, 255}
        assert np.mean((mask == 255) != sample.mask) < 0.01
        [annotation] = coco.imgToAnns[entry["id"]]
        np.testing.assert_array_equal(coco.annToMask(annotation) * 255, mask)
        assert levels_apart(row["alpha"], np.rint(sample.alpha * 255)) <= 1
        assert (out / annotation["alpha_file"]).exists()


def test_composites_over_the_generators_own_backgrounds(make, again):
    out = make("--composites", "generated", "--cutouts")
    assert "objects also over the generator's own backgrounds" in (out / "README.md").read_text()
    rows = accepted_rows(out)
    files = sorted((out / "composites").rglob("*.png"))
    assert {path.stem for path in files} == set(rows)
    changed = []
    for path in files:
        sample = again(rows[path.stem], composites="generated")
        alpha = sample.alpha[..., None]
        colours = foreground_rgb(sample.image, sample.alpha)
        wanted = alpha * colours + (1 - alpha) * sample.background
        with Image.open(path) as composite:
            assert (composite.format, composite.mode) == ("PNG", "RGB")
            assert levels_apart(composite, np.rint(wanted)) <= 2
            changed.append(levels_apart(composite, sample.image))
        with Image.open(out / "rgba" / path.relative_to(out / "composites")) as cutout:
            assert cutout.mode == "RGBA"
            assert levels_apart(cutout, np.dstack([colours, 255 * sample.alpha])) <= 2
    assert min(changed) > 3


def test_composites_over_a_folder_whose_name_has_lines(make, tmp_path):
    folder = tmp_path / "two\n\n lines: 'x'"
    folder.mkdir()
    Image.new("RGB", (16, 16), (0, 99, 0)).save(folder / "a.png")
    out = make("--composites", folder)
    assert len(list((out / "composites").rglob("*.png"))) == NUMBER
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["output"]["composites_folder"] == str(folder)
    assert make("--composites", folder) == out


def test_composites_resume_to_the_same_bytes(make, digests):
    flags = ("--composites", "generated", "--image-format", "webp")
    out = make(*flags)
    whole = digests(out)
    next((out / "composites").rglob("*.webp")).unlink()
    assert digests(make(*flags)) == whole


GENERATORS = {
    "ada_64.pkl": "ada_64_expected.npz",
    "sg3repo_32.pkl": "sg3repo_32_expected.npz",
    "rosinality_64_converted.pt": "rosinality_64_expected.npz",
    "rosinality_64_trained.pt": "rosinality_64_expected.npz",
    "tf_64.pkl": "ada_64_expected.npz",
}


@pytest.fixture
def folder():
    root = os.environ.get("L4F_SHARED")
    if not root:
        pytest.skip("L4F_SHARED is not set: no reference checkpoints here")
    return Path(root) / "fixtures" / "checkpoints"


def refused():
    root = os.environ.get("L4F_SHARED")
    if not root:
        return []
    manifest = json.loads((Path(root) / "fixtures/checkpoints/manifest.json").read_text())
    bad = [f["file"] for f in manifest["files"] if f.get("expect", {}).get("result") == "refuse"]
    # Without an averaged generator the one last trained is used, and said.
    return [name for name in bad if not name.startswith("no_g_ema")]


@pytest.mark.parametrize("name", GENERATORS)
def test_sample_draws_the_reference_pictures(done, folder, tmp_path, name):
    words = ("--seeds", "0-3", "--psi", "1", "--out", tmp_path / "out")
    done("sample", "--generator", folder / name, *words)
    wanted = image_to_uint8(np.load(folder / GENERATORS[name])["img_psi1.0"])
    for seed, picture in enumerate(wanted):
        with Image.open(tmp_path / "out" / f"psi1000-seed{seed:07d}.png") as drawn:
            gap = np.abs(np.int16(drawn) - np.int16(picture.transpose(1, 2, 0)))
        assert gap.max() <= 1


@pytest.mark.parametrize("name", GENERATORS)
def test_make_labels_what_any_format_draws(done, folder, tmp_path, monkeypatch, name):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    small = ("training.steps=1", "training.batch=1", "training.self_training=0")
    words = ["--n", 2, "--out", tmp_path / "out", *(f"--set=alpha.{value}" for value in small)]
    words += ["--set", "filters.coverage=null"]
    words += ["--accept-doubtful-alpha"]  # one step trains nothing
    done("make", "--generator", folder / name, *words)
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 2


@pytest.mark.parametrize("name", refused())
def test_bad_files_are_one_line_and_exit_4(cli_run, folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = cli_run("make", "--generator", folder / name, "--n", 2, "--out", tmp_path / "out")
    assert result.exit_code == 4
    assert result.output.startswith(f"Error: {folder / name}: ")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_convert_keeps_every_bit_and_inspect_tells_both(cli_run, done, told, folder, tmp_path):
    source, target = folder / "ada_64.pkl", tmp_path / "g.safetensors"
    done("convert", source, target)
    for path, out in ((source, "a"), (target, "b")):
        words = ("--seeds", "0-1", "--psi", "0.7", "--out", tmp_path / out)
        done("sample", "--generator", path, *words)
    names = [path.name for path in (tmp_path / "a").glob("*.png")]
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    before, after = (told("inspect", "checkpoint", path) for path in (source, target))
    assert before["resolution"] == after["resolution"] == 64
    assert before["format"] != after["format"]
    again = cli_run("convert", source, target)
    assert again.exit_code != 0
    assert str(target) in again.output
