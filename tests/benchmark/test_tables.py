import csv
import io
from itertools import product

import numpy as np
import pytest

from l4f_datagen.benchmark import tables
from l4f_datagen.benchmark.bench import Row
from l4f_datagen.benchmark.tables import build_tables, line_of, on_psi
from l4f_datagen.io.figures import GAP_PX, OUTLINE_RGB
from l4f_datagen.scoring.bootstrap import METRICS


def row(method, seed, counts, on="psi1000", **facts):
    return Row(method, seed, on, "settings", np.asarray(counts, np.int64), [], **facts)


def test_numbers_are_those_of_a_hand_calculation():
    # 100 pixels: object 20 found of 30 with 10 false; ground 60 found of 70.
    line = line_of([row("full", 0, [[20, 10, 10, 60]])], 1.0)
    mean = (20 / 30 + 60 / 70) / 2
    expected = {"miou": (0.5 + 0.75) / 2, "iou_object": 20 / 40, "iou_background": 60 / 80}
    expected |= {"f1": (2 / 3 + 6 / 7) / 2, "precision": mean, "recall": mean, "accuracy": 0.8}
    found = {name: line.scores[name].value for name in METRICS}
    assert found == pytest.approx(expected, abs=1e-4)
    text = tables.tables_text(build_tables({("full", "psi1000"): line}, [1.0], []), "head")
    assert text.startswith("head\n\nTable 1. ")
    shown = next(part for part in text.split("\n") if part.startswith("full, psi 1 "))
    numbers = "0.5000/0.7500 0.6250 0.7619 0.7619 0.7619 0.8000 *"
    assert shown.split() == f"full, psi 1 {numbers}".split()


def test_pixels_are_pooled_over_images_and_seeds_are_averaged():
    one = row("full", 0, [[10, 0, 0, 90], [10, 10, 10, 70]])
    two = row("full", 4, [[40, 0, 0, 60], [40, 0, 0, 60]])
    line = line_of([one, two], 0.5)
    assert (line.seeds, line.over, line.num_images) == ((0, 4), "seeds", 2)
    # Student: t(1) = 12.7062; deviation of (0.5, 1) is 0.353553.
    half, found = 12.7062 * 0.353553 / 2**0.5, line.scores["iou_object"]
    expected = (0.75 - half, (20 / 40 + 1) / 2, 0.75 + half)
    assert (found.low, found.value, found.high) == pytest.approx(expected, rel=1e-4)


def test_one_seed_has_an_interval_over_images():
    even = line_of([row("otsu", 0, [[20, 10, 10, 60]] * 5)], 1.0)
    assert even.over == "images"
    assert even.scores["miou"].low == even.scores["miou"].high == even.scores["miou"].value
    uneven = line_of([row("otsu", 0, [[20, 10, 10, 60], [1, 1, 48, 50]] * 5)], 1.0)
    assert uneven.scores["miou"].low < uneven.scores["miou"].value < uneven.scores["miou"].high


def test_notes_tell_collapse_and_constant_masks():
    white = row("full", 0, [[30, 70, 0, 0]], collapse="the matte is all white")
    rows = [white, row("full", 1, [[0, 0, 30, 70]]), row("full", 2, [[30, 0, 0, 70]])]
    assert line_of(rows, 1.0).notes == (
        "training seed 0: the matte is all white",
        "training seed 0: masks are almost all white",
        "training seed 1: masks are almost all black",
    )


def test_lines_are_sorted_into_the_papers_tables():
    psis = (0.5, 1.0)
    methods = ("full", "last-layer", "unrelated-backgrounds", "editing-in-style", "redo", "rembg")
    pairs, counts = list(product(methods, psis)), [[1, 1, 1, 1]]
    lines = {(name, on_psi(psi)): line_of([row(name, 0, counts)], psi) for name, psi in pairs}
    lines["redo", "renders"] = line_of([row("redo", 0, counts, on="renders")], None)
    built = build_tables(lines, psis, ["rembg"])
    assert {one.number: [(line.method, line.psi) for line in one.lines] for one in built} == {
        1: [("unrelated-backgrounds", 1.0), ("full", 1.0)],
        2: [("last-layer", 1.0), ("full", 1.0)],
        3: [("editing-in-style", 1.0), ("full", 1.0)],
        4: [("redo", 1.0), ("rembg", 1.0), ("full", 1.0)],
        5: [("redo", None)],
        6: pairs,
    }


def test_csv_holds_every_metric_with_its_interval():
    counts = [[20, 10, 10, 60], [1, 1, 48, 50]]
    line = line_of([row("otsu", 0, counts), row("otsu", 1, counts[::-1] * 2)], 0.7)
    (table,) = [t for t in build_tables({("otsu", "psi0700"): line}, [0.7], []) if t.number == 4]
    (read,) = csv.DictReader(io.StringIO(tables.tables_csv([table])))
    said = {"method": "otsu", "psi": "0.7", "training_seeds": "0 1", "interval_over": "seeds"}
    assert read.items() >= said.items()
    for name, score in line.scores.items():
        for end, value in (("", score.value), ("_low", score.low), ("_high", score.high)):
            assert float(read[name + end]) == pytest.approx(value, abs=1e-6)


def test_a_mask_is_lit_outlined_and_the_rest_dimmed():
    image = np.full((16, 16, 3), 200, np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    page = np.asarray(tables.figure([image, image], [("one", [mask, ~mask])]))
    step, factor = tables.TILE_PX + GAP_PX, tables.TILE_PX // 16
    drawn = page[-2 * step :, -2 * step :]  # words stand above and to the left

    def at(row, column, y, x):
        return tuple(drawn[row * step + y * factor, column * step + x * factor])

    bare, dim = (200, 200, 200), (round(200 * tables.DIMMED),) * 3
    assert at(0, 0, 1, 1) == at(0, 1, 8, 8) == bare
    assert at(1, 0, 8, 8) == at(1, 1, 1, 1) == bare
    assert at(1, 0, 1, 1) == at(1, 1, 8, 8) == dim
    assert at(1, 0, 4, 8) == OUTLINE_RGB
    assert (page[-step:, : -2 * step - GAP_PX] < 128).any()  # the names are written
