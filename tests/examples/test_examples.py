"""The examples and the notebook run as they stand, on small inputs."""

import json
import runpy
from pathlib import Path

import pytest
from matplotlib import pyplot

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_label_with_your_generator(generator_file, tmp_path, capsys):
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
