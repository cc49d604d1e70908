import builtins
import json
from types import SimpleNamespace

import pytest

from l4f_datagen.training import diary as diary_module
from l4f_datagen.training.curves import Events, read_log
from l4f_datagen.training.diary import CURVES_STEPS, ESTIMATE_AFTER, Diary, append_log
from l4f_datagen.training.state import StepFacts


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
        "binarization": 0.25,
        "alpha_coverage": 0.125,
        "attempt": 1,
    }


def test_curves_are_drawn_while_it_trains_and_at_the_end(
    make_generator, make_part, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(diary_module, "write_curves", lambda rows, path: drawn.append(len(rows)))
    part = make_part(steps=2 * CURVES_STEPS + 3)
    diary = Diary(part, make_generator(), tmp_path, 0)
    for step in range(1, part.training.steps + 1):
        diary.note(StepFacts(step, 1.0, 0.5, 0.25, 0.125))
    assert drawn == [CURVES_STEPS, 2 * CURVES_STEPS]
    diary.close()
    assert drawn[2:] == [part.training.steps]


def test_a_log_cut_short_is_read_to_its_last_whole_line(make_generator, make_part, tmp_path):
    """A full disk ends a line anywhere; closing hides no error, and the next run goes on."""
    facts = [StepFacts(step, 1.0, 0.5, 0.25, 0.125) for step in (1, 2, 3)]
    diary = Diary(make_part(), make_generator(), tmp_path, 0)
    for one in facts[:2]:
        diary.note(one)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    diary.close()
    assert (tmp_path / "curves.png").exists()
    append_log(log)(facts[2])
    assert [row["step"] for row in read_log(log)] == [1, 3]


@pytest.mark.parametrize("resumed_at", [0, 10])
def test_the_time_left_is_that_of_the_attempt(
    make_generator, make_part, tmp_path, monkeypatch, resumed_at, caplog
):
    """A step takes a minute; what comes before the first of an attempt does not count."""
    clock = SimpleNamespace(minutes=0)
    monkeypatch.setattr(
        diary_module, "time", SimpleNamespace(monotonic=lambda: 60.0 * clock.minutes)
    )
    diary = Diary(make_part(steps=26), make_generator(), tmp_path, resumed_at)
    for attempt, first in ((1, resumed_at + 1), (2, 1), (3, 1)):
        clock.minutes += 40
        for step in range(first, first + ESTIMATE_AFTER + 2):
            clock.minutes += 1
            diary.note(StepFacts(step, 1.0, 0.5, 0.25, 0.125, attempt))
    diary.close()
    left = (26 - resumed_at - 1 - ESTIMATE_AFTER, 20, 20)
    assert caplog.messages == [
        f"alpha training: 26 steps, about {minutes}.0 minutes left" for minutes in left
    ]


def test_a_run_that_never_stepped_has_no_curves(make_generator, make_part, tmp_path):
    Diary(make_part(), make_generator(), tmp_path, 0).close()
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
