import json
import re

import numpy as np
import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.report import pages
from l4f_datagen.report.charts import charts_of, constant_scores, quantile_rows
from l4f_datagen.report.pages import choose_shown, write_contact_sheet, write_page, write_report
from l4f_datagen.report.records import read_records, records_of


def page_of(made, **options):
    return write_report(made.folder, made.origin, read_records(made.folder), **options).decode()


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_the_header_has_the_numbers_of_the_ledger(disc_dataset, parse):
    made = disc_dataset(30)
    records = read_records(made.folder)
    words = parse(page_of(made)).words
    text = " ".join(" ".join(words).split())
    assert f"accepted 30 of attempts {len(records)}" in text
    for code, reason in enumerate(records.reasons[1:], 1):
        times = int((records.reason == code).sum())
        assert f"rejected: {reason.replace('_', ' ')} {times} " in text
    assert "16 \N{MULTIPLICATION SIGN} 16 px" in words
    assert "alpha > 0.5" in words
    assert "Discs & <noise>." in text


def test_it_is_self_contained_and_every_id_is_there_once(disc_dataset, parse):
    page = page_of(disc_dataset(10))
    found = parse(page)
    assert len(found.ids) == len(set(found.ids))
    inside = [a for a in found.addresses if a.startswith("#")]
    assert all(address[1:] in found.ids for address in inside)
    assert set(found.addresses) - set(inside) == {"data:,"}
    assert "default-src 'none'" in page


def test_the_same_dataset_gives_the_same_bytes_wherever_it_lies(disc_dataset):
    assert page_of(disc_dataset(20)) == page_of(disc_dataset(20, name="elsewhere"))


def test_every_sample_stands_there_with_scores_status_and_command(disc_dataset):
    made = disc_dataset(20, keep_rejected=True)
    data = data_of(page_of(made))
    rows = [json.loads(line) for line in (made.folder / "ledger.jsonl").read_text().splitlines()]
    assert [s["key"] for s in data["samples"]] == [row["key"] for row in rows]
    for sample, row in zip(data["samples"], rows, strict=True):
        assert sample["reason"] == (row["reason"] or "")
        assert dict(zip(data["scores"], sample["scores"], strict=True)) == row["scores"]
        assert sample["command"] == f"l4f-datagen inspect sample . {row['key']} --out ../again"
        assert sample["tile"]["width"] == 16
        assert set(sample["tile"]["files"]) == {"image", "mask", "alpha"}


def test_a_page_that_lies_elsewhere_links_to_no_file(disc_dataset, tmp_path):
    made = disc_dataset(4)
    page = write_page(made.folder, tmp_path / "out.html").read_text()
    tiles = [sample["tile"] for sample in data_of(page)["samples"] if sample["tile"]]
    assert [tile["files"] for tile in tiles] == [{}] * 4
    assert write_page(made.folder) == made.folder / "report.html"
    assert (made.folder / "report.html").read_text() == page_of(made)


def test_rejected_samples_without_pictures_are_said(disc_dataset):
    made = disc_dataset(20)
    page = page_of(made)
    assert "make --keep-rejected" in page
    without = [sample for sample in data_of(page)["samples"] if sample["tile"] is None]
    assert without
    assert all(sample["reason"] for sample in without)
    assert "make --keep-rejected" not in page_of(disc_dataset(20, name="k", keep_rejected=True))


def test_missing_pictures_are_counted(disc_dataset):
    made = disc_dataset(6)
    next((made.folder / "images" / "00000").iterdir()).unlink()
    assert "The images of 1 accepted samples shown here are missing" in page_of(made)


def test_a_large_dataset_is_cut_and_says_so(disc_dataset, monkeypatch):
    monkeypatch.setattr(pages, "MAX_SHOWN", 9)
    made = disc_dataset(40)
    page = page_of(made)
    attempted = len(read_records(made.folder))
    assert len(data_of(page)["samples"]) == 9
    assert f"9 of {attempted} attempts are shown" in re.sub(r"\s+", " ", page)


def test_pictures_stop_where_the_page_is_full(disc_dataset, monkeypatch):
    monkeypatch.setattr(pages, "MAX_TILE_BYTES", 12_000)
    made = disc_dataset(30)
    data = data_of(page_of(made))
    tiles = [sample["tile"] for sample in data["samples"] if sample["tile"]]
    size = sum(len(t[part]) for t in tiles for part in ("image", "alpha", "outline"))
    assert 6_000 < size <= 12_000
    assert len(data["samples"]) < len(read_records(made.folder))


def row(place, psi=1.0, seed=0, reason=None, **scores):
    names = {"image_id": place + 1, "psi": psi, "seed": seed, "shard": 0}
    status = "rejected" if reason else "accepted"
    return names | {"status": status, "reason": reason, "scores": scores}


def test_a_dataset_in_which_nothing_was_accepted():
    records = records_of([row(0, reason="coverage_low", coverage=0.0)])
    assert charts_of(records, None) == []
    assert constant_scores(records) == {"coverage": 0.0}
    assert quantile_rows(records)[0]["scores"] == {"coverage": None}


class TestCharts:
    @pytest.fixture
    def records(self, disc_dataset):
        return read_records(disc_dataset(30).folder)

    def test_one_for_coverage_by_psi_and_one_a_score(self, records):
        charts = charts_of(records, (0.08, 0.3))
        titles = ["Coverage by psi", "Alpha uncertainty", "Coverage"]
        assert [chart.title for chart in charts] == titles
        assert charts[0].words.endswith("filter keeps 0.08 to 0.3.")
        assert "No sample" not in "".join(chart.words for chart in charts)

    def test_words_tell_the_quantiles(self, records):
        kept = records.scores["alpha_uncertainty"][records.accepted]
        low, median, high = np.quantile(kept, [0.05, 0.5, 0.95])
        words = f"Accepted: median {median:.3g}, 90 % in {low:.3g} to {high:.3g}."
        assert charts_of(records, None)[1].words == words

    def test_svg_takes_its_colours_from_the_page_and_has_no_clock(self, records):
        svg = "".join(chart.svg for chart in charts_of(records, None))
        for variable in ("--ink", "--line", "--good", "--bad"):
            assert f"var({variable})" in svg
        assert "dc:date" not in svg

    def test_a_users_matplotlib_settings_change_nothing(self, records):
        import matplotlib

        before = charts_of(records, None)
        with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 9}):
            assert charts_of(records, None) == before

    def test_rows_sum_up_every_psi(self, records):
        rows = quantile_rows(records)
        assert [row["psi"] for row in rows] == [0.5, 1.0]
        assert sum(row["attempted"] for row in rows) == len(records)
        assert sum(row["accepted"] for row in rows) == 30
        here = records.accepted & (records.psi == 1.0)
        median = np.median(records.scores["coverage"][here])
        assert rows[1]["scores"]["coverage"][2] == pytest.approx(median)


def test_contact_sheet_needs_pictures(disc_dataset):
    made = disc_dataset(4, formats=["yolo"])
    with pytest.raises(UsageError, match="holds no image, mask and alpha of an accepted"):
        write_contact_sheet(made.folder)


@pytest.mark.parametrize("write", [write_page, write_contact_sheet])
def test_a_file_that_cannot_be_written(disc_dataset, write):
    made = disc_dataset(4)
    with pytest.raises(UsageError, match="cannot be written"):
        write(made.folder, made.folder / "manifest.json" / "x.html")


def ledger(n, *, rejected=0.2, psis=(0.5, 1.0), seed=0):
    rng = np.random.RandomState(seed)
    reasons = ["coverage_low" if out else None for out in rng.rand(n) < rejected]
    return records_of(
        row(k, psis[k % len(psis)], k // len(psis), reason, border_contact=float(rng.rand()))
        for k, reason in enumerate(reasons)
    )


@pytest.mark.parametrize("n", [0, 1, 2, 29, 30])
def test_few_samples_are_all_shown(n):
    assert sorted(choose_shown(ledger(n), 30)) == list(range(n))


@pytest.mark.parametrize("rejected", [0, 0.02, 0.2, 0.9, 1])
def test_many_are_cut_to_the_limit_each_once(rejected):
    table = ledger(1000, rejected=rejected)
    chosen = choose_shown(table, 60)
    assert len(chosen) == len(set(chosen)) == 60
    kept = int(table.accepted[chosen].sum())
    most = int(table.accepted.sum())
    assert kept == min(most, max(40, 60 - (1000 - most)))


def test_half_are_the_worst_and_half_an_even_spread():
    table = ledger(1000, rejected=0)
    chosen = choose_shown(table, 100)
    worst = np.argsort(-table.scores["border_contact"])[:50]
    assert set(worst.tolist()) <= set(chosen)
    rest = sorted(set(chosen) - set(worst.tolist()))
    assert abs(np.sum(table.psi[rest] == 0.5) - 25) <= 1
    assert np.diff(rest).max() < 100  # no tenth of the plan is left out
    assert rest[0] < 50
    assert rest[-1] > 900


def test_every_beginning_is_fair():
    table = ledger(1000)
    first = choose_shown(table, 90)[:30]
    assert 18 <= table.accepted[first].sum() <= 22
    worst_half = table.worst()[first] > np.quantile(table.worst(), 0.9)
    assert 11 <= worst_half.sum() <= 21
