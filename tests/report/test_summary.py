"""`inspect dataset`: counts, scores and origin of a finished dataset."""

import json


def test_inspect_dataset_sums_up(disc_dataset, cli_run):
    made = disc_dataset(20)
    facts = json.loads(cli_run("inspect", "dataset", made.folder, "--json").stdout)
    rows = [json.loads(line) for line in (made.folder / "ledger.jsonl").read_text().splitlines()]
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
