import json
import re

import numpy as np
import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.report import pages
from l4f_datagen.report.pages import choose_shown, write_contact_sheet, write_page
from l4f_datagen.report.records import read_records


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def tiles_of(data):
    return [sample["tile"] for sample in data["samples"] if sample["tile"]]


def test_the_header_has_the_numbers_of_the_ledger(disc_dataset, page_of, parse):
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


def test_it_is_self_contained_every_id_is_there_once_and_bytes_are_the_same_again(
    disc_dataset, page_of, parse
):
    page = page_of(disc_dataset(10))
    found = parse(page)
    assert len(found.ids) == len(set(found.ids))
    inside = [a for a in found.addresses if a.startswith("#")]
    assert all(address[1:] in found.ids for address in inside)
    assert set(found.addresses) - set(inside) == {"data:,"}
    assert "default-src 'none'" in page
    assert page_of(disc_dataset(10, name="elsewhere")) == page


def test_every_sample_stands_there_with_scores_status_and_command(disc_dataset, page_of):
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


def test_a_page_that_lies_elsewhere_links_to_no_file(disc_dataset, page_of, tmp_path):
    made = disc_dataset(4)
    page = write_page(made.folder, tmp_path / "out.html").read_text()
    assert [tile["files"] for tile in tiles_of(data_of(page))] == [{}] * 4
    assert write_page(made.folder) == made.folder / "report.html"
    assert (made.folder / "report.html").read_text() == page_of(made)


def test_pictures_that_are_not_there_are_said_and_counted(disc_dataset, page_of):
    made = disc_dataset(20)
    page = page_of(made)
    assert "make --keep-rejected" in page
    without = [sample for sample in data_of(page)["samples"] if sample["tile"] is None]
    assert without
    assert all(sample["reason"] for sample in without)
    assert "make --keep-rejected" not in page_of(disc_dataset(20, name="k", keep_rejected=True))
    next((made.folder / "images" / "00000").iterdir()).unlink()
    assert "The images of 1 accepted samples shown here are missing" in page_of(made)


def test_a_large_dataset_is_cut_and_says_so(disc_dataset, page_of, monkeypatch):
    made = disc_dataset(40)
    attempted = len(read_records(made.folder))
    monkeypatch.setattr(pages, "MAX_TILE_BYTES", 12_000)
    data = data_of(page_of(made))
    parts = ("image", "alpha", "outline")
    size = sum(len(tile[part]) for tile in tiles_of(data) for part in parts)
    assert 6_000 < size <= 12_000
    assert len(data["samples"]) < attempted
    monkeypatch.setattr(pages, "MAX_SHOWN", 9)
    page = page_of(made)
    assert len(data_of(page)["samples"]) == 9
    assert f"9 of {attempted} attempts are shown" in re.sub(r"\s+", " ", page)


def test_a_sheet_needs_pictures_and_a_place(disc_dataset):
    made = disc_dataset(4, formats=["yolo"])
    with pytest.raises(UsageError, match="holds no image, mask and alpha of an accepted"):
        write_contact_sheet(made.folder)
    made = disc_dataset(4, name="png")
    for write in (write_page, write_contact_sheet):
        with pytest.raises(UsageError, match="cannot be written"):
            write(made.folder, made.folder / "manifest.json" / "x.html")


@pytest.fixture
def ledger(rows_of):
    def make(n, rejected=0.2):
        rng = np.random.RandomState(0)
        reasons = ["coverage_low" if out else None for out in rng.rand(n) < rejected]
        return rows_of(
            {"psi": (0.5, 1.0)[k % 2], "seed": k // 2, "reason": reason}
            | {"scores": {"border_contact": float(rng.rand())}}
            for k, reason in enumerate(reasons)
        )

    return make


@pytest.mark.parametrize("n", [0, 1, 2, 29, 30])
def test_few_samples_are_all_shown(ledger, n):
    assert sorted(choose_shown(ledger(n), 30)) == list(range(n))


@pytest.mark.parametrize("rejected", [0, 0.02, 0.2, 0.9, 1])
def test_many_are_cut_to_the_limit_each_once(ledger, rejected):
    table = ledger(1000, rejected)
    chosen = choose_shown(table, 60)
    assert len(chosen) == len(set(chosen)) == 60
    kept = int(table.accepted[chosen].sum())
    most = int(table.accepted.sum())
    assert kept == min(most, max(40, 60 - (1000 - most)))


def test_half_are_the_worst_half_an_even_spread_and_every_beginning_is_fair(ledger):
    table = ledger(1000, rejected=0)
    chosen = choose_shown(table, 100)
    worst = np.argsort(-table.scores["border_contact"])[:50]
    assert set(worst.tolist()) <= set(chosen)
    rest = sorted(set(chosen) - set(worst.tolist()))
    assert abs(np.sum(table.psi[rest] == 0.5) - 25) <= 1
    assert np.diff(rest).max() < 100  # no tenth of the plan is left out
    assert rest[0] < 50
    assert rest[-1] > 900
    table = ledger(1000)
    first = choose_shown(table, 90)[:30]
    assert 18 <= table.accepted[first].sum() <= 22
    worst_half = table.worst()[first] > np.quantile(table.worst(), 0.9)
    assert 11 <= worst_half.sum() <= 21
