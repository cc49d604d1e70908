import builtins
import json

import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.io.figures import GAP_PX
from l4f_datagen.training import logger as logger_module
from l4f_datagen.training.history import read_log
from l4f_datagen.training.logger import CURVES_STEPS, PREVIEW_BATCH, TrainingLogger
from l4f_datagen.training.sources import BACKGROUNDS, SourceContext
from l4f_datagen.training.state import StepFacts


def facts_of(step, loss=1.0):
    return StepFacts(step, loss, 0.5, 0.25, 0.125)


@pytest.fixture
def make_logger(make_generator, make_part, tmp_path):
    def make(step=0, generator=None, **values):
        part, generator = make_part(**values), generator or make_generator()
        background = BACKGROUNDS[part.background](SourceContext(part, generator))
        return TrainingLogger(part, generator, background, tmp_path, step)

    return make


def test_the_log_forgets_an_undone_future(make_logger, tmp_path):
    for done, steps, loss in ((0, (1, 2, 3, 4), 1.0), (2, (3, 4, 5), 2.0)):
        log = make_logger(done)
        for step in steps:
            log.note(facts_of(step, loss))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [(row["step"], row["d_loss"]) for row in rows]
    assert found == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]
    assert rows[0] == {
        "step": 1,
        "attempt": 1,
        "d_loss": 1.0,
        "realism": 0.5,
        "rest_d_loss": 0.0,
        "rest_realism": 0.0,
        "binarization": 0.25,
        "alpha_coverage": 0.125,
    }


def test_curves_are_drawn_while_it_trains_and_at_the_end(make_logger, monkeypatch, tmp_path):
    drawn, steps = [], 2 * CURVES_STEPS + 3
    monkeypatch.setattr(logger_module, "write_curves", lambda rows, *rest: drawn.append(len(rows)))
    log = make_logger(steps=steps)
    log.close({}, None)
    assert drawn == []  # a run that never stepped has none
    for step in range(1, steps + 1):
        log.note(facts_of(step))
    assert drawn == [CURVES_STEPS, 2 * CURVES_STEPS]
    log.close({}, None)
    assert drawn[2:] == [steps]


def test_a_log_cut_short_is_read_to_its_last_whole_line(make_logger, tmp_path):
    """A full disk ends a line anywhere; closing hides no error, and the next run goes on."""
    log, file = make_logger(), tmp_path / "log.jsonl"
    for step in (1, 2):
        log.note(facts_of(step))
    file.write_text(file.read_text()[:-20])
    log.close({}, None)
    assert (tmp_path / "curves.png").exists()
    make_logger().note(facts_of(3))
    assert [row["step"] for row in read_log(file)] == [1, 3]


def test_without_tensorboard_there_are_no_events(make_logger, tmp_path, monkeypatch):
    real = builtins.__import__

    def fail(name, *rest):
        if name.endswith("tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    log = make_logger()
    log.note(facts_of(1))
    log.close({}, None)
    assert not (tmp_path / "events").exists()


def test_a_sheet_of_every_part(make_generator, make_alpha, make_logger, tmp_path):
    generator = make_generator()
    for side in generator.spec.resolutions:  # paler, so that levels are not clamped
        torgb = generator.synthesis.get_submodule(f"b{side}").torgb
        torgb.weight *= 0.2
        torgb.bias *= 0.2
    log, network = make_logger(generator=generator), make_alpha(generator)
    log.preview(network, facts_of(50))
    assert [path.name for path in tmp_path.glob("*.png")] == ["preview-01-000050.png"]
    with Image.open(tmp_path / "preview-01-000050.png") as image:
        sheet = np.asarray(image).astype(int)
    step = 128 + GAP_PX
    sheet = sheet[-5 * step :, -PREVIEW_BATCH * step :]  # words stand around it
    alpha = network(log.images.features)
    for column in (0, PREVIEW_BATCH - 1):
        left = column * step
        foreground, matte, background, mixed, cut = (
            sheet[top : top + 128 : 8, left : left + 128 : 8] for top in range(0, 5 * step, step)
        )
        share = alpha[column, 0, :, :, None].numpy()
        assert np.abs(matte - 255 * share).max() <= 1
        inside = [(image > 0) & (image < 255) for image in (foreground, background, mixed)]
        whole = np.logical_and.reduce(inside)  # clamped levels no longer add up
        assert whole.mean() > 0.2
        off = np.abs(mixed - share * foreground - (1 - share) * background)
        assert off[whole].max() <= 2
        assert np.abs(cut - share * foreground).max() > 20


def test_every_snapshot_shows_the_same_images(make_generator, make_alpha, make_logger, tmp_path):
    generator, sheets = make_generator(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        make_logger(generator=generator, seed=seed).preview(make_alpha(generator), facts_of(50))
        sheets.append((tmp_path / "preview-01-000050.png").read_bytes())
    assert sheets[0] == sheets[1]
