import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from l4f_datagen.dataset.formats.hf import GROUP_ROWS, hf_configs
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart

READ = """
import json, sys, datasets
rows = datasets.load_dataset(sys.argv[1], split="train")
first = rows[0]
print(json.dumps({
    "columns": rows.column_names,
    "features": {name: str(feature) for name, feature in rows.features.items()},
    "kinds": [type(first[name]).__module__ for name in ("image", "mask", "label", "alpha")],
    "modes": [first[name].mode for name in ("image", "mask", "label", "alpha")],
    "keys": rows["key"][:],
    "sums": [
        [sum(row[name].tobytes()) for name in ("image", "mask", "label", "alpha")] for row in rows
    ],
    "scalars": {name: first[name] for name in ("psi", "seed", "coverage", "width", "height")},
}))
"""


def load_dataset(folder, home):
    """Read with ``datasets`` in a process of its own, which looks at the environment on import."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(home)}
    run = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def card(formats, splits=("train",)):
    head = {"license": "apache-2.0", **hf_configs(formats, splits)}
    return f"---\n{yaml.safe_dump(head)}---\n# Discs\n"


@pytest.mark.parametrize("formats", [["png", "coco", "hf"], ["hf"]])
def test_load_dataset_gives_pictures(discs, tmp_path, formats):
    folder = tmp_path / "discs"
    discs.make_dataset(folder, 12, formats=formats)
    (folder / "README.md").write_text(card(formats))
    read = load_dataset(folder, tmp_path / "home")
    kept = discs.accepted_discs(12)
    assert read["columns"][:5] == ["key", "image", "mask", "label", "alpha"]
    assert set(read["columns"][5:]) == {
        *("image_id", "psi", "seed", "coverage", "width", "height", "border_contact")
    }
    assert all(kind.startswith("PIL.") for kind in read["kinds"])
    assert read["modes"] == ["RGB", "L", "L", "L"]
    assert read["keys"] == [sample.key for sample in kept]
    assert read["sums"] == [
        [
            int(sample.image.sum()),
            int(sample.mask.sum()) * 255,
            int(sample.mask.sum()),
            int(np.rint(sample.alpha * 255).sum()),
        ]
        for sample in kept
    ]
    first = kept[0]
    assert read["scalars"] == {
        **{"psi": 1.0, "seed": 0, "width": 16, "height": 16},
        "coverage": first.mask.mean(),
    }


def test_cells_hold_the_bytes_of_the_files(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    for shard in (0, 1):
        for row in pq.read_table(tmp_path / f"data/train-{shard:05d}.parquet").to_pylist():
            for column in ("image", "mask", "label", "alpha"):
                folder = "alpha" if column == "alpha" else f"{column}s"
                file = tmp_path / folder / f"{shard:05d}" / row[column]["path"]
                assert row[column]["bytes"] == file.read_bytes()


def test_row_groups_are_small(discs, tmp_path):
    with open_dataset(tmp_path, output=OutputPart(formats=("hf",)), **discs.RUN) as dataset:
        block = [discs.make_disc(5 * seed) for seed in range(GROUP_ROWS + 30)]
        dataset.write(0, [block[:60], block[60:]], planned=len(block))
    meta = pq.read_metadata(tmp_path / "data/train-00000.parquet")
    assert [meta.row_group(at).num_rows for at in range(meta.num_row_groups)] == [GROUP_ROWS, 30]


def test_big_pictures_end_a_row_group_early(discs, tmp_path, monkeypatch):
    monkeypatch.setattr("l4f_datagen.dataset.formats.hf.GROUP_BYTES", 3000)
    discs.make_dataset(tmp_path, 6, formats=["hf"])
    meta = pq.read_metadata(tmp_path / "data/train-00000.parquet")
    assert meta.num_rows == 6
    assert meta.num_row_groups == 2


def test_a_shard_of_rejects_has_no_file(discs, tmp_path):
    def blocks(shard):
        samples = [discs.make_disc(seed) for seed in range(8 * shard, 8 * shard + 8)]
        yield [replace(s, reason="coverage") for s in samples] if shard == 0 else samples

    discs.make_dataset(tmp_path, 4, blocks=blocks)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train-00001.parquet"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["00001"]


def test_scores_must_be_the_same_for_all(discs, tmp_path):
    def blocks(shard):
        yield [discs.make_disc(0), replace(discs.make_disc(1), scores={"blur": 1.0})]

    with pytest.raises(
        ValueError, match=r"seed0000001: expected scores \('border_contact',\), got"
    ):
        discs.make_dataset(tmp_path, 2, blocks=blocks)


READ_ALL = """
import json, sys, datasets
told = {}
for folder in sys.argv[1:]:
    parts = datasets.load_dataset(folder)
    told[folder.rpartition("/")[2]] = {
        split: [
            [sum(row[name].tobytes()) if row.get(name) else None for name in (
                "png" if "png" in row else "image",
                *(name + ".png" if "png" in row else name for name in ("mask", "label", "alpha")),
            )]
            for row in rows
        ]
        for split, rows in parts.items()
    }
print(json.dumps(told))
"""


def test_load_dataset_reads_the_folder_whatever_the_formats(discs, tmp_path):
    """Never contact sheets, masks or mattes for images."""
    wanted = {"train": [], "val": []}
    for disc in discs.accepted_discs(6):
        levels = disc.image, disc.mask * 255, disc.mask, np.rint(disc.alpha * 255)
        row = [int(level.sum()) for level in levels]
        wanted["train" if disc.seed % 3 else "val"].append(row)
    folders = []
    for formats in (["png", "coco"], ["hf"], ["imagefolder"], ["webdataset"], ["yolo"]):
        folder = tmp_path / formats[0]
        folders.append(str(folder))
        pages = {"README.md": card(formats, ["train", "val"]).encode(), "contact_sheet.png": b"no"}
        discs.make_dataset(folder, 6, formats=formats, blocks=discs.split_blocks, pages=pages)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    run = subprocess.run(
        [sys.executable, "-c", READ_ALL, *folders], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    read = json.loads(run.stdout.splitlines()[-1])
    assert read["hf"] == read["imagefolder"] == read["webdataset"] == wanted
    assert {split: sorted(rows) for split, rows in read["png"].items()} == {
        "samples": sorted([*wanted["train"], *wanted["val"]])
    }
    images = {
        split: sorted([row[0], *[None] * 3] for row in rows) for split, rows in wanted.items()
    }
    assert {split: sorted(rows) for split, rows in read["yolo"].items()} == images


def test_configs_name_what_is_there():
    assert hf_configs(["png", "hf"], []) == {}
    [config] = hf_configs(["png", "hf"])["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
