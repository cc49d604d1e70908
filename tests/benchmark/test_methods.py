import csv
import json
import re

import pytest

from l4f_datagen.benchmark import methods
from l4f_datagen.benchmark.methods import METHODS, Speed, seconds
from l4f_datagen.benchmark.run import open_bench, run_benchmark
from l4f_datagen.core.errors import InputRefused

NAMES = ("full", "otsu", "supervised")


def test_a_trial_estimates_says_what_it_is_and_goes_on(make_config, monkeypatch, caplog):
    config = make_config(methods=NAMES, trial=True)
    monkeypatch.setattr(methods, "MAX_STEPS", 3)
    with monkeypatch.context() as late:
        late.setattr(methods, "LAST_START", 0.0)
        text = run_benchmark(config)
    assert "Left out, the time was over: full, otsu, supervised; run it again to go on." in text
    estimate = next(line for line in caplog.messages if line.startswith("trial: "))
    assert re.fullmatch(
        r"trial: 3 methods, 2 trainings of \d+ steps, 3 images at psi 1: about \d+ (s|min) on this "
        r"machine, less what is there already; after 5 min what is missing is left out",
        estimate,
    )
    steps = json.loads((config.out / "trial.json").read_text())["steps"]
    assert 2 <= steps <= 3
    monkeypatch.setattr(methods, "measure_speed", lambda bench: Speed(1e3, 1e3, 1e3))  # now slow
    text = run_benchmark(config)
    assert text.startswith(f"TRIAL: 3 images, trainings of {steps} steps on a tw")
    assert "Left out" not in text
    with (config.out / "tables.csv").open() as file:
        notes = [line["notes"] for line in csv.DictReader(file)]
    assert notes
    assert all(note.startswith("trial") for note in notes)


def test_the_steps_of_a_trial_fit_its_time(make_config):
    bench = open_bench(make_config(trial=True))
    bench.config.out.mkdir()
    for speed, steps in ((Speed(1e-6, 1e-6, 1e-6), methods.MAX_STEPS), (Speed(9, 9, 9), 2)):
        assert methods.trial_steps(bench, METHODS, speed) == steps
        assert methods.trial_steps(bench, METHODS, Speed(1, 1, 1)) == steps  # as kept
        (bench.config.out / methods.FILE).unlink()
    middle = Speed(0.03, 0.003, 0.3)
    steps = methods.trial_steps(bench, METHODS, middle)
    assert 2 < steps < methods.MAX_STEPS
    planned = methods.PLANNED * methods.TRIAL_SECONDS
    assert seconds(bench, METHODS, middle, steps) == pytest.approx(planned, rel=0.1)
    (bench.config.out / methods.FILE).write_text("{}")
    with pytest.raises(InputRefused, match="does not say a number of steps; name another --out"):
        methods.trial_steps(bench, METHODS, middle)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("otsu", "colour-gmm")])
def test_every_method_with_work_has_a_price(make_config, name):
    bench, chosen = open_bench(make_config()), {name: METHODS[name]}
    least = seconds(bench, {}, Speed(1, 1, 1), None)
    assert seconds(bench, chosen, Speed(1, 1, 1), None) > least
    one, many = (seconds(bench, chosen, Speed(1, 1, 1), steps) for steps in (10, 1000))
    assert (many > one) == (name not in ("given-weights", "editing-in-style"))
