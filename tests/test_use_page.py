"""The code of docs/use.md runs, as far as the libraries of its readers can be imported here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from l4f_datagen import load_recipe, make_dataset

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parent.parent / "docs" / "use.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
TRAINED = "assert torch.isfinite(loss) and loss.requires_grad\n"
NEEDS = {
    "PyTorch": ([], TRAINED),
    "SegFormer, with transformers": (
        ["transformers"],
        TRAINED
        + "assert set(batch['labels'].unique().tolist()) == {0, 1}\n"
        + "assert model.config.num_labels == 2\n"
        + "assert model.config.semantic_loss_ignore_index == 255\n",
    ),
    "YOLO segmentation, with Ultralytics": (
        ["torchvision", "ultralytics"],
        "assert model.names == {0: 'car'}\n",
    ),
    "detectron2": (
        ["detectron2"],
        "from detectron2.data import DatasetCatalog\n"
        "rows = DatasetCatalog.get('cars_train')\n"
        "assert rows and all(Path(row['file_name']).exists() for row in rows)\n",
    ),
    "MMSegmentation": (
        [],
        "for loader, split in ((train_dataloader, 'train'), (val_dataloader, 'val')):\n"
        "    given = loader['dataset']\n"
        "    root = Path(given['data_root'])\n"
        "    names = (root / given['ann_file']).read_text().split()\n"
        "    assert len(names) == counts[split]\n"
        "    for folder in given['data_prefix'].values():\n"
        "        assert all((root / folder / f'{name}.png').is_file() for name in names)\n",
    ),
    "FiftyOne": (["fiftyone"], "assert len(dataset) == counts['train']\n"),
}


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    """A folder with the dataset of the page, smaller, and its numbers by split."""
    home = tmp_path_factory.mktemp("use")
    formats = ["png", "coco", "hf", "yolo"]
    recipe = load_recipe("toy-cars", formats=formats)
    manifest = make_dataset(recipe, home / "cars", n=40, device="cpu")
    return home, manifest["splits"]


def run(code, home):
    (home / "block.py").write_text(code)
    return subprocess.run(
        [sys.executable, "block.py"], cwd=home, capture_output=True, text=True, check=False
    )


def test_every_block_is_known():
    assert set(SECTIONS) == set(NEEDS)


@pytest.mark.parametrize("section", NEEDS)
def test_the_code_of_the_page_runs(section, cars):
    home, counts = cars
    needed, check = NEEDS[section]
    if needed:
        found = run("\n".join(f"import {name}" for name in needed), home)
        if found.returncode:
            pytest.skip(f"{', '.join(needed)}: {found.stderr.strip().splitlines()[-1]}")
    head = f"from pathlib import Path\ncounts = {json.dumps(counts)}\n"
    done = run(head + SECTIONS[section] + check, home)
    if "MongoDB could not be installed" in done.stderr:
        pytest.skip("FiftyOne has no database here")
    assert done.returncode == 0, done.stderr


def test_every_block_has_a_line_in_the_table():
    table = PAGE[PAGE.index("## What was run") :]
    for section in NEEDS:
        name = section.rpartition("with ")[2] if "YOLO" in section else section.split(",")[0]
        assert f"| {name} |" in table
