"""Every claim of a card against the files: counts, columns, ranges, hashes, the command."""

import hashlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from l4f_datagen.dataset.layout import CARD_MARKER, read_notes, split_card
from l4f_datagen.rendering.filters import FILTERS
from l4f_datagen.report.card import REASONS, command, manifest_named, write_card
from l4f_datagen.report.front_matter import licence_keys, size_category

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def published():
    return SimpleNamespace(**runpy.run_path(str(TESTS / "hub" / "published.py")))


@pytest.fixture(scope="module")
def dataset(published, tmp_path_factory):
    output = {"category": "disc", "alpha_bits": 16, "split": {"val": 0.4}}
    return published.publishable(tmp_path_factory.mktemp("card") / "discs", output=output)


@pytest.fixture(scope="module")
def card(dataset):
    return (dataset / "README.md").read_text()


@pytest.fixture(scope="module")
def manifest(dataset):
    return (dataset / "manifest.json").read_bytes()


def cells(card, first):
    """Cells of the row of a Markdown table that begins with ``first``."""
    [row] = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", card, re.MULTILINE)
    return [cell.strip() for cell in row.split(" | ")]


def test_head_keeps_the_rules_of_the_hub_and_tells_splits_columns_and_bytes(card, dataset):
    broken_rules = runpy.run_path(str(TESTS / "hub" / "card_rules.py"))["broken_rules"]
    assert broken_rules(card) == []
    assert broken_rules(card.replace("- n<1K", "- tiny"))  # the rules are no formality
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "nvidia-source-code-license-nc")
    assert head["license_link"].startswith("https://")
    info, [config] = head["dataset_info"], head["configs"]
    paths = sorted(dataset.glob("data/*.parquet"))
    assert info["download_size"] == sum(path.stat().st_size for path in paths)
    features = json.loads(pq.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert info["features"] == [
        {"name": name, "dtype": "image" if kind["_type"] == "Image" else kind["dtype"]}
        for name, kind in features.items()
    ]
    files = {named["split"]: named["path"] for named in config["data_files"]}
    assert list(files) == ["train", "val"]
    assert {path for pattern in files.values() for path in dataset.glob(pattern)} == set(paths)


@pytest.mark.slow
def test_its_head_is_read_without_a_warning(dataset, manifest, tmp_path):
    read = "import sys, datasets; read = datasets.load_dataset(sys.argv[1]);"
    read += "print({name: len(rows) for name, rows in read.items()})"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    env |= {"DATASETS_VERBOSITY": "warning", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    asked = [sys.executable, "-c", read, str(dataset)]
    run = subprocess.run(asked, env=env, capture_output=True, text=True, check=True)
    splits = json.loads(manifest)["splits"]
    assert run.stdout == f"{ {'train': splits['train'], 'val': splits['val']} }\n"
    assert run.stderr == ""


def test_samples_and_rejections(card, dataset):
    ledger = [json.loads(line) for line in (dataset / "ledger.jsonl").read_text().splitlines()]
    accepted = [row for row in ledger if row["status"] == "accepted"]
    assert cells(card, "samples") == [f"{len(accepted)} accepted of {len(ledger)} attempted"]
    for split in ("train", "val"):
        number = sum(row["split"] == split for row in accepted)
        assert cells(card, f"split `{split}`") == [str(number)]
    reasons = [row["reason"] for row in ledger if row["reason"]]
    assert reasons
    assert f"- border_contact: {reasons.count('border_contact')}\n" in card
    assert cells(card, "border")[-1] == str(len(reasons))
    seeds = [row["seed"] for row in ledger]
    assert cells(card, "seeds")[0].startswith(f"{min(seeds)} to {max(seeds)} ")
    assert cells(card, "truncation psi") == ["1"]
    empty = sum(row["scores"]["coverage"] == 0 for row in accepted)
    assert cells(card, "empty masks") == [str(empty)]


def test_every_reason_of_the_filters_belongs_to_a_row():
    source = Path(TESTS.parent / "l4f_datagen/rendering/filters.py").read_text()
    known = {reason for reasons in REASONS.values() for reason in reasons}
    assert set(re.findall(r'"([a-z]+_[a-z_]+)"', source)) >= known
    assert set(FILTERS) == set(REASONS)


def test_columns_have_the_types_ranges_and_units_of_the_files(card, dataset):
    table = pa.concat_tables(pq.read_table(path) for path in sorted(dataset.glob("data/*")))
    for name, column in zip(table.schema.names, table.columns, strict=True):
        dtype, said, unit, what = cells(card, f"`{name}`")
        assert what
        if dtype.startswith("image"):
            images = [Image.open(pa.BufferReader(c["bytes"])) for c in column.to_pylist()]
            deep = any(image.mode.startswith("I") for image in images)
            assert dtype == f"image, uint{16 if deep else 8}"
            assert unit == ("class" if name == "label" else "level")
            low, high = re.findall(r"\d+", said)
            extremes = [image.convert("I").getextrema() for image in images]
            assert int(low) <= min(e[0] for e in extremes)
            assert max(e[1] for e in extremes) <= int(high)
            continue
        assert dtype == str(column.type).replace("double", "float64")
        values = column.to_pylist()
        if name != "key":
            numbers = [float(number) for number in re.findall(r"[\d.]+", said)]
            assert min(numbers) - 1e-6 <= min(values)  # scores have six digits
            assert max(values) <= max(numbers) + 1e-6
        if name in ("coverage", "alpha_uncertainty"):
            assert numbers == pytest.approx([min(values), max(values)], abs=1e-6)
    assert cells(card, "`mask`")[1] == "0 or 255"
    assert cells(card, "`alpha`")[1] == "0 to 65535"
    assert cells(card, "image") == ["16 x 16 px"]


def test_its_code_runs_and_finds_the_labels(card, dataset, tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    script = tmp_path / "card.py"
    script.write_text(code.replace("user/name", str(dataset)))
    found = runpy.run_path(str(script))
    assert found["id2label"] == {0: "background", 1: "disc"}
    assert found["image"].shape == (3, 16, 16)
    assert set(found["labels"].unique().tolist()) == {0, 1}
    mask = np.asarray(found["rows"][0]["mask"])
    assert np.array_equal(found["labels"].numpy(), mask > 0)
    assert found["loss"].isfinite()
    assert cells(card, "`label`")[1] == "0 or 1"
    assert "| column `label` or `labels/` | class indices 0 and 1" in card
    assert "| divide by 65535 |" in card


def test_hashes_and_origin(card, dataset, manifest):
    assert manifest_named(card) == hashlib.sha256(manifest).hexdigest()
    origin = json.loads(manifest)["provenance"]
    for said in (origin["generator"]["sha256"], origin["alpha"]["sha256"], origin["recipe_hash"]):
        assert said in card
    assert "Rameen Abdal, Peihao Zhu, Niloy J. Mitra" in card
    assert "arXiv:2103.14968" in card
    for link in re.findall(r"\]\(([^)]+)\)", card):
        assert link.startswith("https://") or (dataset / link).is_file()
    for name in re.findall(r"`([\w.]+\.(?:jsonl|json|yaml))`", card):
        assert (dataset / name).is_file()


def test_licence_guard_and_labels_an_alpha_network_has_seen(card, manifest):
    def rewritten(licence=(), training=None):
        facts = json.loads(manifest)
        facts["provenance"]["licence"] |= dict(licence)
        facts["provenance"]["alpha"] |= {} if training is None else {"training": training}
        return write_card(json.dumps(facts).encode())

    assert "forbid commercial use" in card
    assert "used under the same terms" in rewritten({"commercial": True})
    assert "The terms of these weights are not known" in rewritten({"commercial": None})
    name = "A. Author, Data in Brief 30 (2020)"
    assert f"name: {name}\n" in rewritten({"attribution": name})
    assert "trained without labels.\n" in card
    few = rewritten(training={"unsupervised": False, "labels": 5})
    text = "**Not unsupervised:** this alpha network was trained with hand-made labels (5 lab"
    assert text in few
    assert "trained without labels" not in few
    said = {"unsupervised": False, "supervision": "few-shot: fine-tuned on 5"}
    assert "labels (few-shot: fine-tuned on 5)" in rewritten(training=said)
    chosen = rewritten(training={"unsupervised": True, "supervision": "chosen on 5"})
    assert "without labels; labels were used for this only: chosen on 5." in chosen


def test_scores_stand_only_for_this_very_manifest(manifest):
    digest = hashlib.sha256(manifest).hexdigest()
    scores = {"truth": "ten|cars", "n": 10, "metrics": {"miou": 0.91234, "n_empty": 1}}
    scores |= {"intervals": {"miou": [0.9, 0.93]}, "manifest_sha256": digest}
    card = write_card(manifest, scores=scores)
    assert cells(card, "miou") == ["0.9123", "0.9000 to 0.9300"]
    assert cells(card, "n_empty") == ["1", ""]
    assert "10 annotated images (ten\\|cars)" in card
    assert "Nobody has checked them" not in card
    for unfit in (scores | {"manifest_sha256": "0" * 64}, [], None):
        stale = write_card(manifest, scores=unfit)
        assert "nobody has compared these labels" in stale
        assert "0.9123" not in stale


def test_known_hub_licence_and_sizes():
    assert licence_keys({"name": "Apache-2.0", "link": None}) == {"license": "apache-2.0"}
    other = licence_keys({"name": "My Licence (v2)", "link": None})
    assert other == {"license": "other", "license_name": "my-licence-v2"}
    sizes = {999: "n<1K", 1000: "1K<n<10K", 10**6: "1M<n<10M", 10**9 - 1: "100M<n<1B"}
    sizes |= {10**9: "1B<n<10B"}
    assert {number: size_category(number) for number in sizes} == sizes


def test_notes_survive_regeneration_and_resume(published, dataset, tmp_path):
    folder = published.publishable(tmp_path / "discs", 5)
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nWords of mine, with ü.\n")
    published.publishable(folder, 12)
    assert read_notes(folder) == "\n\nWords of mine, with ü.\n"
    above, notes = split_card(card.read_text())
    assert "12 accepted of" in above
    assert notes == "\n\nWords of mine, with ü.\n"
    card.unlink()  # as after a crash between the old card and the new
    published.publishable(folder, 14)
    assert "Words of mine" in card.read_text()
    card.write_text(above + CARD_MARKER + "\n")
    published.publishable(folder, 16)
    assert "Words of mine" not in card.read_text()
    fresh = published.publishable(tmp_path / "fresh", 16)
    assert (fresh / "README.md").read_bytes() == card.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("count", ["accepted", "attempts"])
def test_its_command_makes_the_same_bytes(tmp_path, tiny_weights, tiny_flags, cli_run, count):
    sizes = ["sampling.block_size=4", "sampling.blocks_per_shard=2", "output.mask_threshold=0.5"]
    sizes += ["filters.coverage.min=0.3", "filters.border=null"]
    small = [word for size in sizes for word in ("--set", size)]
    first, again = tmp_path / "first", tmp_path / "again"
    flags = [*tiny_flags, *small, "--n", 11, "--count", count, "--out", first, "--device", "cpu"]
    done = cli_run("make", *flags)
    assert done.exit_code == 0, done.output
    card = (first / "README.md").read_text()
    [line] = re.findall(r"^l4f-datagen (make .*)$", card, re.MULTILINE)
    places = {f"{part.upper()}_FILE": named["weights"] for part, named in tiny_weights.items()}
    places |= {"recipe.yaml": first / "recipe.yaml", "again": again}
    done = cli_run(*(places.get(word, word) for word in shlex.split(line)))
    assert done.exit_code == 0, done.output
    for name in ("manifest.json", "README.md", "ledger.jsonl"):
        assert (again / name).read_bytes() == (first / name).read_bytes()


def test_command_counts_attempts_where_no_accepted_sample_ends_it_and_asks_for_files():
    recipe = {"generator": {"weights": "builtin:x"}, "alpha": {"weights": None}}
    recipe |= {"sampling": {}, "output": {}}
    manifest = {
        "provenance": {"recipe": recipe, "device": "cpu"},
        "counts": {"accepted": 3, "attempted": 8},
        "shards": [{"attempted": 8, "planned": 8}],
    }
    assert "--n 8 --count attempts --device" in command(manifest)
    manifest["shards"][-1]["planned"] = 16
    recipe |= {"sampling": {"latents": "/l.npy"}, "output": {"composites_folder": "/b"}}
    recipe["alpha"]["weights"] = "/home/somebody/a.pt"
    files = "--alpha ALPHA_FILE --latents LATENTS_FILE --set output.composites_folder=BACKGROUNDS_"
    assert f"--n 3 {files}FOLDER --device" in command(manifest)
