import builtins
import json

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.io.figures import GAP_PX
from l4f_datagen.training import logger as logger_module
from l4f_datagen.training.history import read_log
from l4f_datagen.training.logger import (
    CURVES_STEPS,
    PREVIEW_BATCH,
    Events,
    Previews,
    TrainingLogger,
    append_log,
)
from l4f_datagen.training.sources import BACKGROUNDS, SourceContext
from l4f_datagen.training.state import StepFacts


def background_of(part, generator):
    return BACKGROUNDS[part.background](SourceContext(part, generator))


@pytest.fixture
def make_logger(make_generator, make_part, tmp_path):
    def make(step=0, **values):
        part, generator = make_part(**values), make_generator()
        return TrainingLogger(part, generator, background_of(part, generator), tmp_path, step)

    return make


def test_the_log_forgets_an_undone_future(tmp_path):
    file = tmp_path / "log.jsonl"

    def facts(step, loss):
        return StepFacts(step, loss, 0.5, 0.25, 0.125)

    first = append_log(file)
    for step in (1, 2, 3, 4):
        first(facts(step, 1.0))
    resumed = append_log(file)
    for step in (3, 4, 5):
        resumed(facts(step, 2.0))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["step"], row["d_loss"]) for row in rows] == [
        (1, 1.0),
        (2, 1.0),
        (3, 2.0),
        (4, 2.0),
        (5, 2.0),
    ]
    assert rows[0] == {
        "step": 1,
        "d_loss": 1.0,
        "realism": 0.5,
        "rest_d_loss": 0.0,
        "rest_realism": 0.0,
        "binarization": 0.25,
        "alpha_coverage": 0.125,
        "attempt": 1,
    }


def test_curves_are_drawn_while_it_trains_and_at_the_end(make_logger, monkeypatch):
    drawn, steps = [], 2 * CURVES_STEPS + 3
    monkeypatch.setattr(logger_module, "write_curves", lambda rows, *rest: drawn.append(len(rows)))
    log = make_logger(steps=steps)
    for step in range(1, steps + 1):
        log.note(StepFacts(step, 1.0, 0.5, 0.25, 0.125))
    assert drawn == [CURVES_STEPS, 2 * CURVES_STEPS]
    log.close()
    assert drawn[2:] == [steps]


def test_a_log_cut_short_is_read_to_its_last_whole_line(make_logger, tmp_path):
    """A full disk ends a line anywhere; closing hides no error, and the next run goes on."""
    facts = [StepFacts(step, 1.0, 0.5, 0.25, 0.125) for step in (1, 2, 3)]
    log = make_logger()
    for one in facts[:2]:
        log.note(one)
    file = tmp_path / "log.jsonl"
    file.write_text(file.read_text()[:-20])
    log.close()
    assert (tmp_path / "curves.png").exists()
    append_log(file)(facts[2])
    assert [row["step"] for row in read_log(file)] == [1, 3]


def test_a_run_that_never_stepped_has_no_curves(make_logger, tmp_path):
    make_logger().close()
    assert not (tmp_path / "curves.png").exists()


def test_without_tensorboard_there_are_no_events(tmp_path, monkeypatch):
    real = builtins.__import__

    def fail(name, *rest):
        if name.endswith("tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    events = Events(tmp_path / "events")
    events.add(StepFacts(1, 1.0, 0.5, 0.25, 0.125))
    events.close()
    assert not (tmp_path / "events").exists()


def tile(sheet, row, column):
    step = 128 + GAP_PX
    top, left = GAP_PX + row * step, GAP_PX + column * step
    return sheet[top : top + 128 : 8, left : left + 128 : 8].astype(int)


def test_a_sheet_of_every_part(make_generator, make_alpha, make_part, tmp_path):
    generator = make_generator()
    for side in generator.spec.resolutions:  # paler, so that levels are not clamped
        torgb = generator.synthesis.get_submodule(f"b{side}").torgb
        torgb.weight *= 0.2
        torgb.bias *= 0.2
    part = make_part(batch=2)
    previews = Previews(part, generator, background_of(part, generator), tmp_path)
    network = make_alpha(generator)
    previews.write(network, 50)
    assert [path.name for path in tmp_path.iterdir()] == ["preview-000050.png"]
    with Image.open(tmp_path / "preview-000050.png") as image:
        sheet = np.asarray(image)
    step = 128 + GAP_PX
    sheet = sheet[-5 * step - GAP_PX :, -PREVIEW_BATCH * step - GAP_PX :]  # words stand around it
    alpha = network(previews.images.features)
    for column in (0, PREVIEW_BATCH - 1):
        foreground, matte, background, mixed, cut = (tile(sheet, row, column) for row in range(5))
        share = alpha[column, 0, :, :, None].numpy()
        assert np.abs(matte - 255 * share).max() <= 1
        inside = [(image > 0) & (image < 255) for image in (foreground, background, mixed)]
        whole = np.logical_and.reduce(inside)  # clamped levels no longer add up
        assert whole.mean() > 0.2
        off = np.abs(mixed - share * foreground - (1 - share) * background)
        assert off[whole].max() <= 2
        assert np.abs(cut - share * foreground).max() > 20


def test_every_snapshot_shows_the_same_images(make_generator, make_alpha, make_part, tmp_path):
    generator = make_generator()
    for seed in (1, 2):
        torch.manual_seed(seed)
        part = make_part(seed=seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        previews = Previews(part, generator, background_of(part, generator), folder)
        previews.write(make_alpha(generator), 50)
    one, two = ((tmp_path / f"{k}/preview-000050.png").read_bytes() for k in (1, 2))
    assert one == two
