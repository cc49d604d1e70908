import json
import math

import pytest
from PIL import Image

from l4f_datagen.training.history import (
    MAX_ATTEMPTS,
    MAX_POINTS,
    preview_png,
    read_history,
    write_curves,
)

PLAIN = {"d_loss": 1.5, "realism": 0.5, "binarization": 0.25, "alpha_coverage": 0.125}


def row(step, attempt=1, **values):
    return PLAIN | {"step": step, "attempt": attempt} | values


@pytest.fixture
def history_of(tmp_path):
    def read(rows, **training):
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        return read_history(tmp_path, training)

    return read


def test_a_short_log_is_kept_whole(history_of):
    rows = [row(step, d_loss=1 / step) for step in (1, 2, 3)]
    curves = {name: [value] * 3 for name, value in PLAIN.items()} | {"d_loss": [1.0, 0.5, 0.33333]}
    attempts = [{"attempt": 1, "step": [1, 2, 3], **curves}]
    whole = {"steps": 3, "kept_step": 2, "attempts": attempts}
    assert history_of(rows, kept_step=2, step=3) == whole


def test_a_long_log_is_averaged(history_of):
    steps = 3 * MAX_POINTS - 1
    [history] = history_of([row(k, d_loss=float(k)) for k in range(1, steps + 1)])["attempts"]
    assert len(history["step"]) == MAX_POINTS
    assert (history["step"][:2], history["d_loss"][:2]) == ([3, 6], [2.0, 5.0])
    assert (history["step"][-1], history["d_loss"][-1]) == (steps, steps - 0.5)


def test_attempts_stand_apart_and_what_is_not_a_number_is_none(history_of):
    rows = [row(1), row(2, d_loss=math.nan), *(row(1, attempt) for attempt in range(2, 12))]
    history = history_of(rows, kept_step="x")
    assert [one["attempt"] for one in history["attempts"]] == list(range(12 - MAX_ATTEMPTS, 12))
    assert history["kept_step"] is None
    first = history_of(rows[:2])["attempts"][0]
    assert first["d_loss"] == [1.5, None]
    json.dumps(first, allow_nan=False)


@pytest.mark.parametrize("content", [None, "", "no json\n", '{"step": 1}\n', "3\n"])
def test_no_log(tmp_path, content):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    assert read_history(tmp_path, {}) is None


@pytest.mark.parametrize("prefix", ["preview-02-", "preview-"], ids=["today", "older folders"])
def test_the_preview_is_that_of_the_kept_snapshot_or_the_last(tmp_path, prefix):
    for step in (50, 100, 150):
        if prefix != "preview-":
            (tmp_path / f"preview-01-{step:06d}.png").write_bytes(b"first attempt")
        (tmp_path / f"{prefix}{step:06d}.png").write_bytes(b"%d" % step)
    for kept, expected in ((100, b"100"), (60, b"150"), (None, b"150")):
        assert preview_png(tmp_path, {"kept_step": kept}) == expected
    (tmp_path / "preview-final.png").write_bytes(b"final")
    assert preview_png(tmp_path, {"kept_step": 100}) == b"final"
    assert preview_png(tmp_path / "none", {"kept_step": 1}) is None
    assert preview_png(None, None) is None


def test_curves_on_a_full_disk(tmp_path, fill_disk):
    fill_disk(tmp_path / "curves.png")
    with pytest.raises(OSError, match="No space left"):
        write_curves([row(1)], tmp_path / "curves.png", {}, None)
    assert not list(tmp_path.iterdir())


def test_curves_show_attempts_scores_the_kept_snapshot_and_the_second_discriminator(tmp_path):
    def drawn(rows, scores=(), kept=None):
        write_curves(rows, tmp_path / "curves.png", dict(scores), kept)
        with Image.open(tmp_path / "curves.png") as image:
            return image.height, image.tobytes()

    rows, scores = [row(step) for step in range(1, 7)], {3: 0.5, 6: 0.25}
    plain = drawn(rows)
    assert drawn(rows) == plain != drawn([*rows, row(1, attempt=2)])
    scored = drawn(rows, scores)
    assert scored[0] > plain[0]
    assert drawn(rows, scores, kept=3)[1] != scored[1]
    second = [one | {"rest_d_loss": 1.2, "rest_realism": 0.4} for one in rows]
    assert drawn(second)[0] == pytest.approx(plain[0] * 4 / 3, rel=0.02)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
