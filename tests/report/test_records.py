import json

import numpy as np
import pytest

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.report.records import read_records


def ledger_rows(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


@pytest.fixture
def scored(rows_of):
    """Records of accepted samples with these scores."""
    return lambda *scores: rows_of({"scores": each} for each in scores)


def test_the_ledger_comes_back_in_columns(disc_dataset):
    made = disc_dataset(20)
    records, rows = read_records(made.folder), ledger_rows(made.folder)
    assert [records.key(i) for i in range(len(records))] == [row["key"] for row in rows]
    assert [records.reasons[code] or None for code in records.reason] == [r["reason"] for r in rows]
    assert records.reasons[0] == ""
    assert list(records.reasons[1:]) == sorted(records.reasons[1:])
    assert records.accepted.sum() == 20
    for name, column in records.scores.items():
        assert column.tolist() == [row["scores"][name] for row in rows]


def test_a_score_that_comes_late_or_is_missing_is_nan(scored):
    records = scored({"a": 1.0}, {"b": 2.0}, {"a": 3.0, "b": 4.0})
    assert np.array_equal(records.scores["a"], [1, np.nan, 3], equal_nan=True)
    assert np.array_equal(records.scores["b"], [np.nan, 2, 4], equal_nan=True)


def test_each_score_has_its_worse_end(scored):
    coverages = enumerate((0.1, 0.5, 0.52, 0.48, 0.7))
    values = ((k / 10, 1 - k / 10, coverage) for k, coverage in coverages)
    names = ("alpha_uncertainty", "largest_share", "coverage")
    ranks = scored(*(dict(zip(names, row, strict=True)) for row in values)).badness()
    for name in names[:2]:
        assert ranks[name].tolist() == [0, 0.2, 0.4, 0.6, 0.8]
    # Median 0.5: the farthest is 0.1, then 0.7.
    assert np.argsort(-ranks["coverage"])[:2].tolist() == [0, 4]


def test_ties_share_the_lowest_rank_and_nan_is_the_best(scored):
    ranks = scored(*({"border_contact": value} for value in (0.0, 0.0, 0.3)), {}).badness()
    assert ranks["border_contact"].tolist() == [0.25, 0.25, 0.75, 0.0]


def test_worst_is_the_worst_of_all_and_without_scores_nobody_is_suspect(scored):
    records = scored({"border_contact": 0.9, "a": 1.0}, {"border_contact": 0.0, "a": 1.0})
    assert records.worst().tolist() == [0.5, 0.0]
    assert scored({}, {}).worst().tolist() == [0, 0]


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"image_id": 1}', "9" * 70_000, '{"a":' * 5_000]
)
def test_a_line_that_is_no_row_and_a_folder_without_a_ledger(tmp_path, line):
    with pytest.raises(InputRefused, match=r"ledger\.jsonl: cannot be read"):
        read_records(tmp_path)
    (tmp_path / "ledger.jsonl").write_text(line + "\n")
    with pytest.raises(InputRefused, match=r"line 1 is no row of a ledger"):
        read_records(tmp_path)


def test_inspect_dataset_sums_up(disc_dataset, cli_run):
    made = disc_dataset(20)
    facts = json.loads(cli_run("inspect", "dataset", made.folder, "--json").stdout)
    rows = ledger_rows(made.folder)
    kept = [row for row in rows if row["status"] == "accepted"]
    assert (facts["counts"]["accepted"], facts["counts"]["attempted"]) == (20, len(rows))
    assert sum(facts["counts"]["rejected"].values()) == len(rows) - 20
    assert [row["psi"] for row in facts["psi"]] == [0.5, 1.0]
    assert facts["scores"]["coverage"]["max"] == max(row["scores"]["coverage"] for row in kept)
    said = cli_run("inspect", "dataset", made.folder).stdout
    for words in ("domain             discs", "accepted           20", "alpha_uncertainty"):
        assert words in said
