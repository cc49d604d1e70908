"""What is done stays done: resuming, repairing, growing and shrinking, each ending in the same
bytes as an undisturbed run."""

import errno
import json
import os
import shutil
from importlib import import_module

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.dataset.indexes import find_marker
from l4f_datagen.dataset.layout import marker_path
from l4f_datagen.dataset.ownership import Asked
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart

MARKER = ".l4f/shards/00001.json"


@pytest.fixture
def undisturbed(discs, tmp_path):
    def make(n):
        discs.make_dataset(tmp_path / f"undisturbed-{n}", n)
        return discs.files_of(tmp_path / f"undisturbed-{n}")

    return make


@pytest.fixture
def resumed(discs, tmp_path, undisturbed):
    """Make the dataset ``a`` of so many again; gives the shards rendered, and the notes."""

    def make(n):
        rendered = []
        notes = discs.make_dataset(tmp_path / "a", n, blocks=discs.recorded(rendered))
        assert discs.files_of(tmp_path / "a") == undisturbed(n)
        return rendered, notes

    return make


def test_the_layout_and_the_same_bytes_in_time_and_place(discs, tmp_path, undisturbed):
    discs.make_dataset(tmp_path / "elsewhere", 8, workers=1)
    assert discs.files_of(tmp_path / "elsewhere") == undisturbed(8)
    names = list(undisturbed(8))
    assert [name for name in names if not name.endswith(".png")] == [
        *(".l4f/coco/00000.tsv", ".l4f/coco/00001.tsv", ".l4f/lock", ".l4f/run.json"),
        *(".l4f/shards/00000.json", ".l4f/shards/00001.json", "README.md"),
        "annotations/instances_train.json",
        *("data/train-00000.parquet", "data/train-00001.parquet"),
        *("ledger.jsonl", "manifest.json", "recipe.yaml"),
    ]
    assert "images/00001/psi1000-seed0000009.png" in names
    assert len(names) == 13 + 4 * 8


@pytest.mark.parametrize(
    ("before", "after", "rendered"),
    [
        (15, 15, []),
        (15, 20, [2, 3]),  # the shards hold 7, 6, 6, 7 accepted discs: the third was cut
        (13, 20, [2, 3]),  # the second was full
        (12, 20, [1, 2, 3]),
    ],
)
def test_growing_leaves_what_is_finished_as_it_is(
    discs, tmp_path, resumed, before, after, rendered
):
    discs.make_dataset(tmp_path / "a", before)
    kept = list((tmp_path / "a/images/00000").iterdir())
    times = [path.stat().st_mtime_ns for path in kept]
    found, notes = resumed(after)
    assert found == rendered
    assert all("has more or fewer samples than are asked for" in note for note in notes)
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_a_smaller_number_deletes_nothing_without_overwrite(discs, tmp_path, undisturbed):
    def refused(n, words, **options):
        with pytest.raises(UsageError, match=f"a: {words}"):
            discs.make_dataset(tmp_path / "a", n, **options)

    discs.make_dataset(tmp_path / "a", 20)
    remedy = "ask for at least 20, choose another folder, or start over with --overwrite"
    refused(3, f"holds 20 accepted samples, --n 3 would delete 17 of them; {remedy}")
    assert discs.files_of(tmp_path / "a") == undisturbed(20)
    attempts = {"asked": Asked(23, "attempts")}
    refused(3, "holds 25 attempts, --n 23 would delete 2 of them", **attempts)
    (tmp_path / "a/manifest.json").unlink()  # as where the last indexes were not written yet
    refused(19, "holds 20 accepted samples, --n 19 would delete 1 of them")
    discs.make_dataset(tmp_path / "a", 3, overwrite=True)
    assert discs.files_of(tmp_path / "a") == undisturbed(3)


def test_the_same_command_may_end_before_what_was_rendered_ahead(discs, tmp_path, resumed):
    output = OutputPart(formats=discs.ALL)
    given = {**discs.RUN, "output": output, "asked": Asked(15, "accepted")}
    with open_dataset(tmp_path / "a", **given) as dataset:
        for shard in range(4):
            dataset.write(shard, discs.plan_blocks(shard), planned=8)  # the last one too many
    resumed(15)


def test_a_longer_plan_renders_the_last_shard_again(discs, tmp_path):
    given = {**discs.RUN, "output": OutputPart(formats=("png",))}
    with open_dataset(tmp_path, **given) as dataset:
        dataset.write(0, list(discs.plan_blocks(0))[:1], planned=4)
    with open_dataset(tmp_path, **given) as dataset:
        assert dataset.finished(0, planned=8) is None
        assert dataset.finished(0, planned=4).attempted == 4


LOST, DAMAGED = "files missing or cut short", "its marker is damaged"


@pytest.mark.parametrize(
    ("name", "how", "problems"),
    [
        *(
            (name, how, {1: f"1 {LOST}"})
            for name in (
                *("images/00001/psi1000-seed0000009.png", "masks/00001/psi1000-seed0000010.png"),
                *("data/train-00001.parquet", ".l4f/coco/00001.tsv"),
            )
            for how in ("deleted", "cut", "emptied")
        ),
        ("images", "deleted", {0: f"7 {LOST}", 1: f"6 {LOST}", 2: f"5 {LOST}"}),
        *((name, "deleted", {}) for name in ("ledger.jsonl", "manifest.json", "annotations")),
        (MARKER, "deleted", {1: None}),  # a shard without a marker is no shard
        *((MARKER, how, {1: DAMAGED}) for how in ("cut", "emptied", "a folder")),
        *((MARKER, how, {1: DAMAGED}) for how in ({"rows": []}, {"accepted": "x"}, {"files": []})),
    ],
)
def test_what_is_damaged_is_made_again_and_nothing_else(
    discs, tmp_path, resumed, name, how, problems
):
    discs.make_dataset(tmp_path / "a", 18)
    path = tmp_path / "a" / name
    if isinstance(how, dict):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | how))
    elif how in ("cut", "emptied"):
        os.truncate(path, path.stat().st_size // 2 if how == "cut" else 0)
    else:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == "a folder":
        path.mkdir()
    notes = [f"shard {n}: {problem}; made again" for n, problem in problems.items() if problem]
    assert resumed(18) == (list(problems), notes)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_renderer_that_raises_keeps_finished_shards(discs, tmp_path, resumed, error):
    def failing(shard):
        for block in discs.plan_blocks(shard):
            yield block
            if shard == 2:
                raise error("the generator broke")

    with pytest.raises(error, match="the generator broke"):
        discs.make_dataset(tmp_path / "a", 20, blocks=failing)
    names = set(discs.files_of(tmp_path / "a"))
    assert not any(".part" in name or "/00002" in name or "-00002" in name for name in names)
    assert "data/train-00001.parquet" in names
    assert "manifest.json" not in names
    assert resumed(20)[0] == [2, 3]


@pytest.mark.parametrize("method", ["add", "close"])
@pytest.mark.parametrize("writer", ["files.PngShard", "objects.CocoShard", "hf.HfShard"])
def test_a_writer_that_raises(discs, tmp_path, resumed, monkeypatch, writer, method):
    module, _, name = writer.partition(".")
    holder = getattr(import_module(f"l4f_datagen.dataset.formats.{module}"), name)
    real, calls = getattr(holder, method), []

    def broken(self, *args):
        calls.append(self)
        if len(calls) == 3:
            raise RuntimeError("the writer broke")
        return real(self, *args)

    monkeypatch.setattr(holder, method, broken)
    with pytest.raises(RuntimeError, match="the writer broke"):
        discs.make_dataset(tmp_path / "a", 20)
    monkeypatch.undo()
    assert not [name for name in discs.files_of(tmp_path / "a") if ".part" in name]
    resumed(20)


def test_stale_parts_and_unmarked_files_are_swept(discs, tmp_path, resumed):
    discs.make_dataset(tmp_path / "a", 9)
    for name in (
        *("images/00001.part/x.png", "images/00007/y.png", "masks/00012.part/z.png"),
        *("data/train-00003.parquet", "data/train-00001.parquet.part", "manifest.json.part"),
        *(".l4f/coco/00009.tsv", ".l4f/shards/00004.json.part", ".l4f/run.json.part"),
    ):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"left")
    resumed(9)


def test_files_of_others_beside_ours_stay(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    others = [tmp_path / n for n in ("notes.txt", "images/readme.txt", "data/train-x.parquet")]
    for path in others:
        path.write_text("mine")
    discs.make_dataset(tmp_path, 5, overwrite=True)
    assert [path.read_text() for path in others] == ["mine"] * 3


def test_indexes_go_before_a_shard_is_touched(discs, tmp_path):
    discs.make_dataset(tmp_path, 15)
    (tmp_path / "images/00001/psi1000-seed0000009.png").unlink()

    def stopped(shard):
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {".l4f", "images", "masks", "labels", "alpha", "data"}
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        discs.make_dataset(tmp_path, 15, blocks=stopped)


def test_counts_that_do_not_add_up_are_refused(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    path = tmp_path / MARKER
    marker = json.loads(path.read_bytes())
    marker["files"] = [fact for fact in marker["files"] if not fact[0].startswith("images/")]
    path.write_text(json.dumps(marker))
    with pytest.raises(L4FError, match=r"counts of shard 1 do not add up; start over with --ov"):
        discs.make_dataset(tmp_path, 9)


def test_a_record_that_cannot_be_read_is_not_made_again(tmp_path, monkeypatch):
    marker = marker_path(tmp_path, 0)

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(type(marker), "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        find_marker(tmp_path, 0)
    monkeypatch.undo()
    assert find_marker(tmp_path, 0) is None  # missing
    marker.mkdir(parents=True)
    assert find_marker(tmp_path, 0) is None
