import json

from l4f_datagen.alpha.diary import append_log
from l4f_datagen.alpha.state import StepFacts


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
