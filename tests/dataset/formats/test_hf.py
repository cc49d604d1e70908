import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from l4f_datagen.dataset.formats import hf
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart

READ = """
import json, sys, datasets
scalars = ("key", "psi", "seed", "coverage", "width", "height")
told = {}
for folder in sys.argv[1:]:
    parts = told[folder] = {}
    alone = folder.endswith("imagefolder/imagefolder")
    where = ["imagefolder", None, folder] if alone else [folder]
    for split, rows in datasets.load_dataset(*where).items():
        names = ["image", "mask", "label", "alpha"]
        if "png" in rows.column_names:
            names = ["png", "mask.png", "label.png", "alpha.png"]
        names = [name for name in names if name in rows.column_names]
        parts[split] = {
            "columns": rows.column_names,
            "modes": [rows[0][name].mode for name in names],
            "sums": [[sum(row[name].tobytes()) for name in names] for row in rows],
            "first": {name: rows[0][name] for name in scalars if name in rows.column_names},
        }
print(json.dumps(told))
"""


def test_cells_hold_the_bytes_of_the_files(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    for shard in (0, 1):
        for row in pq.read_table(tmp_path / f"data/train-{shard:05d}.parquet").to_pylist():
            for column in ("image", "mask", "label", "alpha"):
                folder = "alpha" if column == "alpha" else f"{column}s"
                file = tmp_path / folder / f"{shard:05d}" / row[column]["path"]
                assert row[column]["bytes"] == file.read_bytes()


@pytest.mark.parametrize(("limit", "number", "groups"), [(None, 130, [100, 30]), (3000, 6, [3, 3])])
def test_row_groups_are_small(discs, tmp_path, monkeypatch, limit, number, groups):
    monkeypatch.setattr(hf, "GROUP_BYTES", limit or hf.GROUP_BYTES)
    with open_dataset(tmp_path, output=OutputPart(formats=("hf",)), **discs.RUN) as dataset:
        block = [discs.make_disc(5 * seed) for seed in range(number)]
        dataset.write(0, [block[:60], block[60:]], planned=number)
    meta = pq.read_metadata(tmp_path / "data/train-00000.parquet")
    assert [meta.row_group(at).num_rows for at in range(meta.num_row_groups)] == groups


def test_a_shard_of_rejects_has_no_file(discs, tmp_path):
    def blocks(shard):
        samples = [discs.make_disc(seed) for seed in range(8 * shard, 8 * shard + 8)]
        yield [replace(s, reason="coverage") for s in samples] if shard == 0 else samples

    discs.make_dataset(tmp_path, 4, blocks=blocks)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train-00001.parquet"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["00001"]


def test_scores_must_be_the_same_for_all(discs, tmp_path):
    block = [discs.make_disc(0), replace(discs.make_disc(1), scores={"blur": 1.0})]
    words = r"seed0000001: expected scores \['border_contact'\], got"
    with pytest.raises(ValueError, match=words):
        discs.make_dataset(tmp_path, 2, blocks=lambda shard: [block])


def test_load_dataset_reads_the_folder_whatever_the_formats(discs, tmp_path):
    """Never contact sheets, masks or mattes for images."""
    wanted = {"train": [], "val": []}
    for disc in discs.accepted_discs(6):
        levels = disc.image, disc.mask * 255, disc.mask, np.rint(disc.alpha * 255)
        row = [int(level.sum()) for level in levels]
        wanted["train" if disc.seed % 3 else "val"].append(row)
    folders = [str(tmp_path / "imagefolder/imagefolder")]
    for formats in ("png coco", "png hf", "hf", "imagefolder", "webdataset", "yolo"):
        head = {"license": "apache-2.0", **hf.hf_configs(formats.split(), list(wanted))}
        card = f"---\n{yaml.safe_dump(head)}---\n# Discs\n".encode()
        what = {"formats": formats.split(), "blocks": discs.split_blocks}
        pages = {"README.md": card, "contact_sheet.png": b"no"}
        discs.make_dataset(tmp_path / formats, 6, **what, pages=pages)
        folders.append(str(tmp_path / formats))
    # In a process of its own: ``datasets`` looks at the environment on import.
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", READ, *folders]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    read = {Path(folder).relative_to(tmp_path).as_posix(): parts for folder, parts in told.items()}
    alone = read["imagefolder/imagefolder"]
    alone["val"] = alone.pop("validation")  # as the reader calls it, where no card says otherwise
    sums = {
        formats: {split: part["sums"] for split, part in parts.items()}
        for formats, parts in read.items()
    }
    assert sorted(sums.pop("png coco")["samples"]) == sorted([*wanted["train"], *wanted["val"]])
    images = {split: sorted([image] for image, *_ in rows) for split, rows in wanted.items()}
    assert {split: sorted(rows) for split, rows in sums.pop("yolo").items()} == images
    assert sums == dict.fromkeys(sums, wanted)
    first = discs.make_disc(1)
    facts = {"key": first.key, "psi": 1.0, "seed": 1, "coverage": first.mask.mean()}
    columns = ["key", "image", "mask", "label", "alpha"]
    for formats in ("png hf", "hf", "imagefolder/imagefolder"):
        part = read[formats]["train"]
        assert part["columns"][:5] == columns or formats.startswith("imagefolder")
        assert set(part["columns"]) == {
            *(*columns, "image_id", "psi", "seed", "coverage", "width", "height", "border_contact")
        }
        assert part["modes"] == ["RGB", "L", "L", "L"]
        assert part["first"] == {**facts, "width": 16, "height": 16}
    assert hf.hf_configs(["png", "hf"], []) == {}  # a pattern without files would break readers
