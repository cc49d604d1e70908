"""Charts of a report, and its section on the training: what it tells, shows and refuses."""

import copy
import io
import json
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.charts import (
    charts_of,
    constant_scores,
    quantile_rows,
    training_charts,
    training_section,
)
from l4f_datagen.report.pages import write_page
from l4f_datagen.report.records import read_records


@pytest.fixture
def records(disc_dataset):
    return read_records(disc_dataset(30).folder)


def test_a_dataset_in_which_nothing_was_accepted(rows_of):
    records = rows_of([{"reason": "coverage_low", "scores": {"coverage": 0.0}}])
    assert charts_of(records, None) == []
    assert constant_scores(records) == {"coverage": 0.0}
    assert quantile_rows(records)[0]["scores"] == {"coverage": None}


def test_one_for_coverage_by_psi_and_one_a_score_with_their_quantiles(records):
    charts = charts_of(records, (0.08, 0.3))
    titles = ["Coverage by psi", "Alpha uncertainty", "Coverage"]
    assert [chart.title for chart in charts] == titles
    assert charts[0].words.endswith("filter keeps 0.08 to 0.3.")
    kept = records.scores["alpha_uncertainty"][records.accepted]
    low, median, high = np.quantile(kept, [0.05, 0.5, 0.95])
    words = f"Accepted: median {median:.3g}, 90 % in {low:.3g} to {high:.3g}."
    assert charts[1].words == words


def test_svg_takes_its_looks_from_the_page_alone_and_has_no_clock(records):
    charts = charts_of(records, None)
    svg = "".join(chart.svg for chart in charts)
    for variable in ("--ink", "--line", "--good", "--bad"):
        assert f"var({variable})" in svg
    assert "dc:date" not in svg
    with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 9}):
        assert charts_of(records, None) == charts


def test_rows_sum_up_every_psi(records):
    rows = quantile_rows(records)
    assert [row["psi"] for row in rows] == [0.5, 1.0]
    assert sum(row["attempted"] for row in rows) == len(records)
    assert sum(row["accepted"] for row in rows) == 30
    here = records.accepted & (records.psi == 1.0)
    median = np.median(records.scores["coverage"][here])
    assert rows[1]["scores"]["coverage"][2] == pytest.approx(median)


def section_of(page):
    return re.search(r'<section aria-labelledby="training-title">.*?</section>', page, re.S)[0]


def test_curves_and_preview_stand_in_the_page(disc_dataset, page_of, trained, decode_webp):
    origin, preview = trained
    page = page_of(disc_dataset(4), origin=origin, preview=preview)
    section = section_of(page)
    assert section.count("<figure") == section.count("<svg") == 3
    assert "Attempt 2 went through" in section
    assert "The snapshot of step 3 was kept" in section
    assert "discriminator, from 1.4 to 1.1. Dashed: alpha network, from 0.7 to 1." in section
    assert "From 0.5 to 0.188; 1 is all foreground." in section
    words = "one image per column, in rows foreground, alpha, background, composite and cut-out."
    assert f'alt="Preview sheet of the training: {words}"' in section
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    again = disc_dataset(4, name="again")
    assert page_of(again, origin=origin, preview=preview) == page
    shown = decode_webp(re.search(r'src="(data:image/webp[^"]+)"', section)[1])
    with Image.open(io.BytesIO(preview)) as sheet:
        assert shown.shape == (640, 1060, 3)
        assert np.abs(shown.astype(int) - np.asarray(sheet, int)).mean() < 16


def test_curves_have_the_colours_of_the_page_and_every_point(trained):
    origin, _ = trained
    svg = training_charts(origin["alpha"]["run"])[1].svg
    assert "var(--ink)" in svg
    assert "var(--line)" in svg
    curve = max(re.findall(r'<path d="([^"]+)" clip-path', svg), key=len)
    heights = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", curve)]
    values = origin["alpha"]["run"]["attempts"][1]["alpha_coverage"]
    assert len(heights) == 4
    drawn = (heights[0] - np.array(heights)) / (heights[0] - heights[-1])
    expected = (values[0] - np.array(values)) / (values[0] - values[-1])
    assert drawn == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("builtin:toy-cars", " loaded from builtin:toy-cars."),
        ("/home/somebody/nets/mine.safetensors", " loaded from mine.safetensors."),
        (None, "The alpha network was trained on the spot; its log was not kept."),
    ],
)
def test_without_a_training_it_says_where_the_network_is_from(
    disc_dataset, page_of, weights, words
):
    made = disc_dataset(4)
    origin = copy.deepcopy(made.origin)
    origin["recipe"]["alpha"]["weights"] = weights
    section = section_of(page_of(made, origin=origin))
    assert words in section
    assert "<figure" not in section
    assert "/home" not in section


def test_a_preview_that_is_no_sheet_is_left_out(trained):
    buffer = io.BytesIO()
    Image.new("1", (3000, 3000)).save(buffer, "PNG")
    for preview in (None, b"", b"no image", buffer.getvalue()):
        assert not training_section(trained[0], preview)["preview"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: run.pop("attempts"),
        lambda run: run.update(attempts=[]),
        lambda run: run["attempts"][0].update(step=["x"]),
        lambda run: run["attempts"][1].update(realism=[1.0]),
        lambda run: run.update(kept_step={}),
    ],
)
def test_a_manifest_whose_training_is_none(trained, spoil):
    origin = copy.deepcopy(trained[0])
    spoil(origin["alpha"]["run"])
    expected = r"manifest.json: tells of a training that cannot be read \(.+\); run the `make`"
    with pytest.raises(InputRefused, match=expected):
        training_section(origin, None)


def test_report_finds_the_sheet_in_the_folder(disc_dataset, page_of, trained):
    made, (origin, preview) = disc_dataset(4), trained
    manifest = json.loads((made.folder / "manifest.json").read_bytes())
    (made.folder / "manifest.json").write_text(json.dumps(manifest | {"provenance": origin}))
    (made.folder / "training.png").write_bytes(preview)
    page = write_page(made.folder).read_text()
    assert page == page_of(made, origin=origin, preview=preview)
    (made.folder / "training.png").unlink()
    assert write_page(made.folder).read_text() == page_of(made, origin=origin)
