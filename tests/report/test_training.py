"""The report's section on the training: what it tells, shows and refuses."""

import copy
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.charts import training_charts, training_section
from l4f_datagen.report.pages import write_page, write_report
from l4f_datagen.report.records import read_records


def page_of(made, origin, preview=None):
    return write_report(made.folder, origin, read_records(made.folder), preview=preview).decode()


def section_of(page):
    return re.search(r'<section aria-labelledby="training-title">.*?</section>', page, re.S)[0]


def test_curves_and_preview_stand_in_the_page(disc_dataset, trained):
    origin, preview = trained
    page = page_of(disc_dataset(4), origin, preview)
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
    assert page_of(disc_dataset(4, name="again"), origin, preview) == page


def test_the_preview_is_the_sheet(disc_dataset, trained, decode_webp):
    origin, preview = trained
    section = section_of(page_of(disc_dataset(4), origin, preview))
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
        ("builtin:toy-cars", "it was loaded from builtin:toy-cars."),
        ("/home/somebody/nets/mine.safetensors", "it was loaded from mine.safetensors."),
        (None, "The alpha network was trained on the spot; its log was not kept."),
    ],
)
def test_without_a_training_it_says_where_the_network_is_from(disc_dataset, weights, words):
    made = disc_dataset(4)
    origin = copy.deepcopy(made.origin)
    origin["recipe"]["alpha"]["weights"] = weights
    section = section_of(page_of(made, origin))
    assert words.replace("it was", "") in section.replace("it was", "")
    assert "<figure" not in section
    assert "/home" not in section


def test_a_preview_that_is_no_sheet_is_left_out(trained):
    origin, _ = trained
    buffer = io.BytesIO()
    Image.new("1", (3000, 3000)).save(buffer, "PNG")
    for preview in (None, b"", b"no image", buffer.getvalue()):
        assert not training_section(origin, preview)["preview"]


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
def test_a_manifest_whose_training_is_none(disc_dataset, trained, spoil):
    origin, _ = trained
    run = copy.deepcopy(origin["alpha"]["run"])
    spoil(run)
    spoilt = origin | {"alpha": origin["alpha"] | {"run": run}}
    expected = r"manifest.json: tells of a training that cannot be read \(.+\); run the `make`"
    with pytest.raises(InputRefused, match=expected):
        page_of(disc_dataset(2), spoilt)


def test_report_finds_the_sheet_in_the_folder(disc_dataset, trained):
    made, (origin, preview) = disc_dataset(4), trained
    manifest = json.loads((made.folder / "manifest.json").read_bytes())
    (made.folder / "manifest.json").write_text(json.dumps(manifest | {"provenance": origin}))
    (made.folder / "training.png").write_bytes(preview)
    page = write_page(made.folder).read_text()
    assert page == page_of(made, origin, preview)
    (made.folder / "training.png").unlink()
    assert write_page(made.folder).read_text() == page_of(made, origin)
