import json
from collections import Counter
from dataclasses import replace

import pytest

from l4f_datagen.dataset.manifest import Counts, Facts
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart


@pytest.fixture
def dataset(discs, tmp_path):
    with open_dataset(tmp_path / "data set", output=OutputPart(), **discs.RUN) as dataset:
        yield dataset


def test_the_ledger_has_every_attempt(discs, tmp_path):
    discs.make_dataset(tmp_path, 15)
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    tried = [discs.make_disc(seed) for seed in range(18)]
    assert [row["image_id"] for row in rows] == [disc.image_id for disc in tried]
    for row, disc in zip(rows, tried, strict=True):
        assert row == {
            **{"image_id": disc.image_id, "key": disc.key, "psi": 1.0, "seed": disc.seed},
            **{"shard": disc.seed // 8, "split": "train"},
            **{"status": disc.status, "reason": disc.reason},
            "scores": disc.scores,
        }
    for row in rows:
        file = tmp_path / f"images/{row['shard']:05d}/{row['key']}.png"
        assert file.exists() == (row["status"] == "accepted")


def test_rows_and_counts_before_the_finish(discs, dataset):
    markers = discs.take_shards(dataset, 15)
    assert sum(marker.accepted for marker in markers) == 15
    assert [row["seed"] for row in dataset.rows()] == list(range(18))
    counts = dataset.counts()
    assert counts == Counts(
        attempted=18,
        accepted=15,
        rejected=Counter(border=3),
        psis={1.0},
        seeds=(0, 17),
        splits=Counter(train=15),
        scores=counts.scores,
    )


def test_all_attempts_of_a_plan_without_a_wanted_count(discs, dataset):
    marker = dataset.write(0, discs.plan_blocks(0), planned=8)
    assert (marker.attempted, marker.accepted, marker.rejected) == (8, 7, {"border": 1})


def test_no_block_is_pulled_beyond_the_wanted_count(discs, dataset):
    pulled = []

    def blocks():
        for number in range(100):
            pulled.append(number)
            yield [discs.make_disc(4 * number + at) for at in range(4)]

    assert dataset.write(0, blocks(), planned=400, wanted=2).attempted == 2
    assert pulled == [0]


@pytest.mark.parametrize(
    ("blocks", "planned", "wanted", "match"),
    [
        ([[0, 1], [2]], 4, None, "shard 0: expected 4 samples, got 3"),
        ([[0, 1], [2]], 4, 9, "shard 0: expected 4 samples, got 3"),
        ([[0, 1, 2]], 2, None, "shard 0: expected 2 samples, got 3"),
        ([[0, 1, 2]], 2, 3, "shard 0: expected 2 samples, got 3"),
        ([[1, 0]], 2, None, "seed0000000: expected image_id above 2, got 1"),
        ([[0, 1], [1]], 3, None, "seed0000001: expected image_id above 2, got 2"),
    ],
)
def test_samples_that_break_the_plan(discs, dataset, blocks, planned, wanted, match):
    samples = [[discs.make_disc(seed) for seed in block] for block in blocks]
    with pytest.raises(ValueError, match=match):
        dataset.write(0, samples, planned=planned, wanted=wanted)
    assert not (dataset.folder / "images").exists()


def test_two_samples_of_one_key_and_scores_that_are_no_numbers(discs, dataset):
    first = discs.make_disc(0)
    with pytest.raises(ValueError, match="psi1000-seed0000000: two samples with this key"):
        dataset.write(0, [[first, replace(first, image_id=2)]], planned=2)
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataset.write(0, [[replace(first, scores={"coverage": float("nan")})]], planned=1)
    assert not list(dataset.folder.rglob("*.png"))


def test_finish_wants_all_shards(discs, dataset):
    dataset.write(1, discs.plan_blocks(1), planned=8)
    with pytest.raises(ValueError, match=r"expected shards 0, 1, 2 ... taken in order, got \[1\]"):
        dataset.finish(discs.FACTS)
    dataset.write(0, discs.plan_blocks(0), planned=8)
    with pytest.raises(ValueError, match=r"taken in order, got \[1, 0\]"):
        dataset.finish(discs.FACTS)


def test_finish_knows_its_pages(discs, dataset):
    discs.take_shards(dataset, 3)
    with pytest.raises(ValueError, match=r"expected pages among .*README.md.*got \('index.html',"):
        dataset.finish(discs.FACTS, {"index.html": b""})


def test_a_page_left_out_goes(discs, dataset):
    discs.take_shards(dataset, 3)
    dataset.finish(discs.FACTS, {"README.md": b"card", "contact_sheet.png": b"png"})
    assert (dataset.folder / "contact_sheet.png").read_bytes() == b"png"
    manifest = dataset.finish(discs.FACTS, {"README.md": b"card"})
    assert not (dataset.folder / "contact_sheet.png").exists()
    assert "contact_sheet.png" not in manifest["indexes"]


def test_nothing_accepted_still_adds_up(discs, tmp_path):
    with open_dataset(tmp_path, output=OutputPart(), **discs.RUN) as dataset:
        dataset.write(0, [[discs.make_disc(3), discs.make_disc(8)]], planned=2)
        manifest = dataset.finish(Facts("disc", 0.9, "none"))
    assert manifest["counts"] == {
        **{"attempted": 2, "accepted": 0, "rejected": {"border": 2}},
        **{"empty_masks": 0, "filled_holes": 0},
    }
    coco = json.loads((tmp_path / "annotations/instances_train.json").read_bytes())
    assert coco["images"] == coco["annotations"] == []
