"""Shards and their sums: what is written, and what a writer may not be handed."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from l4f_datagen.dataset import layout
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
    names = ("image_id", "key", "psi", "seed", "split", "status", "reason", "scores")
    assert rows == [
        {name: getattr(disc, name) for name in names} | {"shard": disc.seed // 8}
        for disc in map(discs.make_disc, range(18))
    ]
    for row in rows:
        file = tmp_path / f"images/{row['shard']:05d}/{row['key']}.png"
        assert file.exists() == (row["status"] == "accepted")


def test_rows_and_counts_before_the_finish(discs, dataset):
    markers = discs.take_shards(dataset, 15)
    assert sum(marker.accepted for marker in markers) == 15
    assert [row["seed"] for row in dataset.rows()] == list(range(18))
    counts = dataset.counts()
    sums = {"attempted": 18, "accepted": 15, "rejected": Counter(border=3), "psis": {1.0}}
    assert counts == Counts(**sums, seeds=(0, 17), splits=Counter(train=15), scores=counts.scores)


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
        ([[0, {"image_id": 2}]], 2, None, "seed0000000: two samples with this key"),
        ([[{"scores": {"coverage": float("nan")}}]], 1, None, "not JSON compliant"),
    ],
)
def test_samples_that_break_the_plan(discs, dataset, blocks, planned, wanted, match):
    def sample(one):
        made = discs.make_disc(0 if isinstance(one, dict) else one)
        return replace(made, **one) if isinstance(one, dict) else made

    with pytest.raises(ValueError, match=match):
        dataset.write(0, [list(map(sample, block)) for block in blocks], planned, wanted)
    assert not (dataset.folder / "images").exists()


def test_finish_wants_all_shards_in_order_and_knows_its_pages(discs, dataset):
    for shard, taken in ((1, r"\[1\]"), (0, r"\[1, 0\]")):
        dataset.write(shard, discs.plan_blocks(shard), planned=8)
        with pytest.raises(ValueError, match=f"expected shards 0, 1, 2 .* in order, got {taken}"):
            dataset.finish(discs.FACTS)
    dataset.shards.sort()
    with pytest.raises(ValueError, match=r"expected pages among .*README.md.*got \('index.html',"):
        dataset.finish(discs.FACTS, {"index.html": b""})


def test_a_page_left_out_goes(discs, dataset):
    discs.take_shards(dataset, 3)
    dataset.finish(discs.FACTS, {"README.md": b"card", "contact_sheet.png": b"png"})
    assert (dataset.folder / "contact_sheet.png").read_bytes() == b"png"
    manifest = dataset.finish(discs.FACTS, {"README.md": b"card"})
    assert not (dataset.folder / "contact_sheet.png").exists()
    assert "contact_sheet.png" not in manifest["indexes"]


def test_nothing_accepted_still_adds_up(discs, dataset):
    dataset.write(0, [[discs.make_disc(3), discs.make_disc(8)]], planned=2)
    manifest = dataset.finish(Facts("disc", 0.9, "none"))
    assert manifest["counts"] == {
        "attempted": 2,
        "accepted": 0,
        "rejected": {"border": 2},
        "empty_masks": 0,
        "filled_holes": 0,
    }
    coco = json.loads((dataset.folder / "annotations/instances_train.json").read_bytes())
    assert coco["images"] == coco["annotations"] == []


def test_notes_below_the_marker_of_a_card_are_kept_byte_for_byte(tmp_path):
    """Their way through a run that writes the card anew is told in ``tests/report``."""
    for notes in ("", "\n\nWords.\n", "\r\nWindows\r\n", f"\n{layout.CARD_MARKER}\ntwice"):
        assert layout.split_card(layout.join_card("head\n", notes)) == ("head\n", notes or "\n")
    layout.keep_notes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    card, data = tmp_path / "README.md", layout.CARD_MARKER.encode() + b"\n\xff no utf-8\n"
    card.write_bytes(b"head\n" + data)
    layout.keep_notes(tmp_path)
    card.unlink()
    layout.keep_notes(tmp_path)  # a second time, with no card: nothing changes
    assert layout.encode_card(layout.join_card("", layout.read_notes(tmp_path))) == data
    for text, kept in (("no marker", "\n\udcff no utf-8\n"), (layout.join_card("", ""), "")):
        card.write_text(text)
        assert layout.read_notes(tmp_path) == kept
    layout.keep_notes(tmp_path)
    assert not (tmp_path / layout.KEPT).exists()
