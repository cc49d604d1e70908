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


def row(step, attempt=1, **values):
    plain = {"d_loss": 1.5, "realism": 0.5, "binarization": 0.25, "alpha_coverage": 0.125}
    return plain | {"step": step, "attempt": attempt} | values


def write(folder, rows):
    (folder / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


def test_a_short_log_is_kept_whole(tmp_path):
    run = write(tmp_path, [row(step, d_loss=1 / step) for step in (1, 2, 3)])
    assert read_history(run, {"kept_step": 2, "step": 3}) == {
        "steps": 3,
        "kept_step": 2,
        "attempts": [
            {
                "attempt": 1,
                "step": [1, 2, 3],
                "d_loss": [1.0, 0.5, 0.33333],
                "realism": [0.5] * 3,
                "alpha_coverage": [0.125] * 3,
                "binarization": [0.25] * 3,
            }
        ],
    }


def test_a_long_log_is_averaged(tmp_path):
    steps = 3 * MAX_POINTS - 1
    run = write(tmp_path, [row(step, d_loss=float(step)) for step in range(1, steps + 1)])
    [history] = read_history(run, {})["attempts"]
    assert len(history["step"]) == MAX_POINTS
    assert history["step"][:2] == [3, 6]
    assert history["d_loss"][:2] == [2.0, 5.0]
    assert (history["step"][-1], history["d_loss"][-1]) == (steps, steps - 0.5)


def test_attempts_stand_apart_and_what_is_not_a_number_is_none(tmp_path):
    rows = [row(1), row(2, d_loss=math.nan), *(row(1, attempt) for attempt in range(2, 12))]
    history = read_history(write(tmp_path, rows), {"kept_step": "x"})
    assert [one["attempt"] for one in history["attempts"]] == list(range(12 - MAX_ATTEMPTS, 12))
    assert history["kept_step"] is None
    first = read_history(write(tmp_path, rows[:2]), {})["attempts"][0]
    assert first["d_loss"] == [1.5, None]
    json.dumps(first, allow_nan=False)


@pytest.mark.parametrize("content", [None, "", "no json\n", '{"step": 1}\n', "3\n"])
def test_no_log(tmp_path, content):
    if content is not None:
        (tmp_path / "log.jsonl").write_text(content)
    assert read_history(tmp_path, {}) is None


def test_the_preview_is_that_of_the_kept_snapshot_or_the_last(tmp_path):
    for step in (50, 100, 150):
        (tmp_path / f"preview-{step:06d}.png").write_bytes(b"%d" % step)
    assert preview_png(tmp_path, {"kept_step": 100}) == b"100"
    assert preview_png(tmp_path, {"kept_step": 60}) == b"150"
    assert preview_png(tmp_path, {"kept_step": None}) == b"150"
    (tmp_path / "preview-final.png").write_bytes(b"final")
    assert preview_png(tmp_path, {"kept_step": 100}) == b"final"
    assert preview_png(tmp_path / "none", {"kept_step": 1}) is None
    assert preview_png(None, None) is None


def test_curves_on_a_full_disk(tmp_path, fill_disk):
    fill_disk(tmp_path / "curves.png")
    row = {"d_loss": 1.0, "realism": 0.5, "binarization": 0.1, "alpha_coverage": 0.3}
    with pytest.raises(OSError, match="No space left"):
        write_curves([row | {"attempt": 1, "step": 1}], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_curves_of_several_attempts(tmp_path):
    row = {"d_loss": 1.0, "realism": 0.5, "binarization": 0.1, "alpha_coverage": 0.3}
    rows = [row | {"attempt": a, "step": s} for a in (1, 2) for s in (1, 2, 3)]
    write_curves(rows, tmp_path / "curves.png")
    first = (tmp_path / "curves.png").read_bytes()
    write_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == first
    assert not list(tmp_path.glob("*.part"))


def test_curves_show_the_scores_of_snapshots_and_which_was_kept(tmp_path):
    rows = [row(step) for step in range(1, 7)]
    heights = []
    for scores, kept in (({}, None), ({3: 0.5, 6: 0.25}, None), ({3: 0.5, 6: 0.25}, 3)):
        write_curves(rows, tmp_path / "curves.png", scores, kept)
        with Image.open(tmp_path / "curves.png") as image:
            heights.append((image.height, image.tobytes()))
    assert heights[1][0] > heights[0][0]
    assert heights[2][1] != heights[1][1]


def test_curves_show_the_second_discriminator_where_there_is_one(tmp_path):
    heights = []
    for more in ({}, {"rest_d_loss": 1.2, "rest_realism": 0.4}):
        write_curves([row(step, **more) for step in range(1, 7)], tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            heights.append(image.height)
    assert heights[1] == pytest.approx(heights[0] * 4 / 3, rel=0.02)
