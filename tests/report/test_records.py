import json

import numpy as np
import pytest

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.records import read_records, records_of


def row(place, reason=None, **scores):
    names = {"image_id": place + 1, "psi": 0.7, "seed": place, "shard": place // 8}
    status = "rejected" if reason else "accepted"
    return names | {"status": status, "reason": reason, "scores": scores}


def ledger_rows(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_the_ledger_comes_back_in_columns(disc_dataset):
    made = disc_dataset(20)
    records = read_records(made.folder)
    rows = ledger_rows(made.folder)
    assert len(records) == len(rows)
    assert [records.key(i) for i in range(len(rows))] == [row["key"] for row in rows]
    assert [records.reasons[code] or None for code in records.reason] == [r["reason"] for r in rows]
    assert records.reasons[0] == ""
    assert list(records.reasons[1:]) == sorted(records.reasons[1:])
    assert records.accepted.sum() == 20
    for name, column in records.scores.items():
        assert column.tolist() == [row["scores"][name] for row in rows]


def test_a_score_that_comes_late_or_is_missing_is_nan():
    records = records_of([row(0, a=1.0), row(1, b=2.0), row(2, a=3.0, b=4.0)])
    assert np.array_equal(records.scores["a"], [1, np.nan, 3], equal_nan=True)
    assert np.array_equal(records.scores["b"], [np.nan, 2, 4], equal_nan=True)


class TestBadness:
    def test_each_score_has_its_worse_end(self):
        rows = [
            row(k, coverage=c, alpha_uncertainty=k / 10, largest_share=1 - k / 10)
            for k, c in enumerate((0.1, 0.5, 0.52, 0.48, 0.7))
        ]
        ranks = records_of(rows).badness()
        assert ranks["alpha_uncertainty"].tolist() == [0, 0.2, 0.4, 0.6, 0.8]
        assert ranks["largest_share"].tolist() == [0, 0.2, 0.4, 0.6, 0.8]
        # Median 0.5: the farthest is 0.1, then 0.7.
        assert np.argsort(-ranks["coverage"])[:2].tolist() == [0, 4]

    def test_ties_share_the_lowest_rank_and_nan_is_the_best(self):
        rows = [row(k, border_contact=value) for k, value in enumerate((0.0, 0.0, 0.3))]
        records = records_of([*rows, row(3)])
        assert records.badness()["border_contact"].tolist() == [0.25, 0.25, 0.75, 0.0]

    def test_worst_is_the_worst_of_all_and_without_scores_nobody_is_suspect(self):
        rows = [row(0, border_contact=0.9, a=1.0), row(1, border_contact=0.0, a=1.0)]
        assert records_of(rows).worst().tolist() == [0.5, 0.0]
        assert records_of([row(0), row(1)]).worst().tolist() == [0, 0]


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"image_id": 1}', "9" * 70_000, '{"a":' * 5_000]
)
def test_a_line_that_is_no_row(disc_dataset, line):
    made = disc_dataset(3)
    with (made.folder / "ledger.jsonl").open("a") as ledger:
        ledger.write(line + "\n")
    with pytest.raises(InputRefused, match=r"line \d+ is no row of a ledger"):
        read_records(made.folder)


def test_a_folder_without_a_ledger(tmp_path):
    with pytest.raises(InputRefused, match=r"ledger\.jsonl: cannot be read"):
        read_records(tmp_path)


def test_inspect_dataset_sums_up(disc_dataset, cli_run):
    made = disc_dataset(20)
    facts = json.loads(cli_run("inspect", "dataset", made.folder, "--json").stdout)
    rows = ledger_rows(made.folder)
    kept = [row for row in rows if row["status"] == "accepted"]
    assert facts["counts"]["accepted"] == 20
    assert facts["counts"]["attempted"] == len(rows)
    assert sum(facts["counts"]["rejected"].values()) == len(rows) - 20
    assert [row["psi"] for row in facts["psi"]] == [0.5, 1.0]
    assert facts["scores"]["coverage"]["max"] == max(row["scores"]["coverage"] for row in kept)
    said = cli_run("inspect", "dataset", made.folder).stdout
    assert "domain             discs" in said
    assert "accepted           20" in said
    assert "alpha_uncertainty" in said
