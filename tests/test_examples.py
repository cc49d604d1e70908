"""Examples, notebook, the round trip of docs/labelbox and the code of docs/use run as they are."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot
from PIL import Image

from l4f_datagen import load_recipe, make_dataset
from l4f_datagen.annotate.keys import read_key_file
from l4f_datagen.annotations import load_annotations
from l4f_datagen.training import self_training

ROOT = Path(__file__).parents[1]
EXAMPLES, LABELBOX = ROOT / "examples", ROOT / "docs" / "labelbox"


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_label_with_your_generator(generator_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(self_training, "BATCHES", 2)  # of 24: a trained file is all that is needed
    label = example("label_with_your_generator")["label"]
    label(str(generator_file), tmp_path, 3, 2, "cpu", accept=True)  # of two steps
    printed = capsys.readouterr().out
    assert "g.safetensors: l4f-datagen, 16 x 16 px" in printed
    assert "3 samples, look at" in printed
    assert (tmp_path / "alpha" / "alpha.safetensors").exists()
    assert len(list((tmp_path / "dataset" / "masks").rglob("*.png"))) == 3


def test_score_ten_masks(tmp_path, capsys):
    module = example("score_ten_masks")
    module["main"](*module["draw_toys"](tmp_path))
    printed = capsys.readouterr().out
    assert "10 annotated images" in printed
    assert "worst image: 0" in printed


def test_train_a_segmenter(discs, tmp_path):
    discs.make_dataset(tmp_path / "discs", 40, formats=("hf",))
    train = example("train_segmenter")["train"]
    assert train(tmp_path / "discs", steps=80) > 0.8  # .74 after 40 steps


def test_the_notebook_runs_cell_by_cell(tmp_path, monkeypatch, capsys):
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    script = tmp_path / "quickstart.py"
    script.write_text("\n\n".join(cells))
    monkeypatch.chdir(tmp_path)
    pyplot.switch_backend("Agg")
    names = runpy.run_path(str(script))
    assert names["manifest"]["counts"]["accepted"] == 16
    assert "mIoU" in capsys.readouterr().out
    pyplot.close("all")


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.py"))])
def test_every_example_says_how_it_is_run(name):
    assert f"examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text()


def test_the_labelbox_example_is_small_and_whole():
    assert sum(path.stat().st_size for path in LABELBOX.rglob("*") if path.is_file()) < 100_000
    keys = read_key_file(LABELBOX / "to-label")
    truth = load_annotations(LABELBOX / "export.ndjson")
    assert truth.format == "labelbox"
    assert [item.name for item in truth] == [row.file for row in keys.rows]
    assert 6 <= len(truth) <= 10
    assert {row.psi for row in keys.rows} == {0.5, 0.7, 1.0}
    for item in truth:
        with Image.open(LABELBOX / "to-label" / item.name) as picture:
            assert item.size_hw == (picture.height, picture.width)
        assert 0.1 < item.load().mask.mean() < 0.5
    assert truth.notes() == []
    for line in (LABELBOX / "export.ndjson").read_text().splitlines():
        (project,) = json.loads(line)["projects"].values()
        (annotation,) = project["labels"][0]["annotations"]["objects"]
        assert len(annotation["polygon"]) >= 8


def test_the_labelbox_command_shown_prints_the_table_shown(cli_run, monkeypatch):
    monkeypatch.chdir(ROOT)
    readme = (LABELBOX / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"l4f-datagen (validate .*)", readme)
    result = cli_run(*shlex.split(shown))
    assert result.exit_code == 0, result.output
    printed = readme.partition("<!-- printed by validate -->\n```\n")[2].partition("\n```")[0]
    told, now = printed.splitlines(), result.stdout.rstrip().splitlines()
    assert now[0] == told[0]
    rows = r"^(background|object|mean|paper columns|coverage|pairing)\b"
    words, numbers = [], []
    for text in (told, now):
        table = [line for line in text if re.match(rows, line)]
        words.append([re.sub(r"[\d.]+", "", line) for line in table])
        numbers.append([float(number) for number in re.findall(r"\d\.\d+", " ".join(table))])
    assert words[0] == words[1]
    assert len(numbers[1]) == 24
    assert numbers[1] == pytest.approx(numbers[0], abs=2e-3)
    assert min(numbers[1][:15]) > 0.8


PAGE = (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
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


@pytest.mark.slow
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


def test_every_block_is_known_and_has_a_line_in_the_table():
    assert set(SECTIONS) == set(NEEDS)
    table = PAGE[PAGE.index("## What was run") :]
    for section in NEEDS:
        name = section.rpartition("with ")[2] if "YOLO" in section else section.split(",")[0]
        assert f"| {name} |" in table
