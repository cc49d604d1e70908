"""What is done stays done: resuming, repairing, growing and shrinking, each ending in the same
bytes as an undisturbed run."""

import json
import os
import shutil

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.dataset.ownership import Asked
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart

PNG = OutputPart(formats=("png",))


@pytest.fixture
def undisturbed(discs, tmp_path):
    def make(n, **options):
        folder = tmp_path / f"undisturbed-{n}"
        discs.make_dataset(folder, n, **options)
        return discs.files_of(folder)

    return make


def test_two_runs_are_byte_identical_in_time_and_place(discs, tmp_path, undisturbed):
    discs.make_dataset(tmp_path / "elsewhere", 15, workers=1)
    assert discs.files_of(tmp_path / "elsewhere") == undisturbed(15)


def test_the_layout(undisturbed):
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


def test_a_finished_dataset_is_left_as_it_is(discs, tmp_path, undisturbed):
    rendered = []
    discs.make_dataset(tmp_path / "a", 15)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a/images").rglob("*")}
    assert discs.make_dataset(tmp_path / "a", 15, blocks=discs.recorded(rendered)) == []
    assert rendered == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a/images").rglob("*")} == before
    assert discs.files_of(tmp_path / "a") == undisturbed(15)


@pytest.mark.parametrize(
    ("before", "after", "rendered"),
    [
        (15, 20, [2, 3]),  # the shards hold 7, 6, 6, 7 accepted discs: the third was cut
        (13, 20, [2, 3]),  # the second was full
        (12, 20, [1, 2, 3]),
    ],
)
def test_growing(discs, tmp_path, undisturbed, before, after, rendered):
    found = []
    discs.make_dataset(tmp_path / "a", before)
    notes = discs.make_dataset(tmp_path / "a", after, blocks=discs.recorded(found))
    assert discs.files_of(tmp_path / "a") == undisturbed(after)
    assert found == rendered
    assert all("has more or fewer samples than are asked for" in note for note in notes)


def test_a_smaller_number_deletes_nothing_without_overwrite(discs, tmp_path, undisturbed):
    discs.make_dataset(tmp_path / "a", 20)
    with pytest.raises(
        UsageError,
        match=r"a: holds 20 accepted samples, --n 3 would delete 17 of them; ask for at least 20, "
        "choose another folder, or start over with --overwrite",
    ):
        discs.make_dataset(tmp_path / "a", 3)
    assert discs.files_of(tmp_path / "a") == undisturbed(20)
    with pytest.raises(UsageError, match="holds 25 attempts, --n 23 would delete 2 of them"):
        discs.make_dataset(tmp_path / "a", 3, asked=Asked(23, "attempts"))
    (tmp_path / "a/manifest.json").unlink()  # as where the last indexes were not written yet
    with pytest.raises(UsageError, match="holds 20 accepted samples, --n 19 would delete 1"):
        discs.make_dataset(tmp_path / "a", 19)
    discs.make_dataset(tmp_path / "a", 3, overwrite=True)
    assert discs.files_of(tmp_path / "a") == undisturbed(3)


def test_the_same_command_may_end_before_what_was_rendered_ahead(discs, tmp_path, undisturbed):
    given = {**discs.RUN, "output": OutputPart(formats=discs.ALL), "asked": Asked(15, "accepted")}
    with open_dataset(tmp_path / "a", **given) as dataset:
        for shard in range(3):
            dataset.write(shard, discs.plan_blocks(shard), planned=8)  # 19 accepted
    discs.make_dataset(tmp_path / "a", 15)
    assert discs.files_of(tmp_path / "a") == undisturbed(15)


def test_a_longer_plan_renders_the_last_shard_again(discs, tmp_path):
    with open_dataset(tmp_path, output=PNG, **discs.RUN) as dataset:
        dataset.write(0, list(discs.plan_blocks(0))[:1], planned=4)
    with open_dataset(tmp_path, output=PNG, **discs.RUN) as dataset:
        assert dataset.finished(0, planned=8) is None
        assert dataset.finished(0, planned=4).attempted == 4


def damage(path, how="deleted"):
    if how == "deleted":
        path.unlink() if path.is_file() else shutil.rmtree(path)
    else:
        os.truncate(path, path.stat().st_size // 2 if how == "cut" else 0)


@pytest.mark.parametrize("how", ["deleted", "cut", "emptied"])
@pytest.mark.parametrize(
    "name",
    [
        "images/00001/psi1000-seed0000009.png",
        "masks/00001/psi1000-seed0000010.png",
        "data/train-00001.parquet",
        ".l4f/coco/00001.tsv",
        ".l4f/shards/00001.json",
    ],
)
def test_a_damaged_shard_is_made_again_and_no_other(discs, tmp_path, undisturbed, name, how):
    rendered = []
    discs.make_dataset(tmp_path / "a", 18)
    damage(tmp_path / "a" / name, how)
    notes = discs.make_dataset(tmp_path / "a", 18, blocks=discs.recorded(rendered))
    assert rendered == [1]
    assert discs.files_of(tmp_path / "a") == undisturbed(18)
    if how == "deleted" and "shards" in name:
        assert notes == []  # a shard without a marker is no shard
    elif "shards" in name:
        assert notes == ["shard 1: its marker is damaged; made again"]
    else:
        assert notes == ["shard 1: 1 files missing or cut short; made again"]


@pytest.mark.parametrize(
    ("name", "notes"),
    [*((name, 0) for name in ("ledger.jsonl", "manifest.json", "annotations")), ("images", 2)],
)
def test_lost_indexes_and_folders_come_back(discs, tmp_path, undisturbed, name, notes):
    discs.make_dataset(tmp_path / "a", 9)
    damage(tmp_path / "a" / name)
    assert len(discs.make_dataset(tmp_path / "a", 9)) == notes
    assert discs.files_of(tmp_path / "a") == undisturbed(9)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_renderer_that_raises_keeps_finished_shards(discs, tmp_path, undisturbed, error):
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
    rendered = []
    discs.make_dataset(tmp_path / "a", 20, blocks=discs.recorded(rendered))
    assert rendered == [2, 3]
    assert discs.files_of(tmp_path / "a") == undisturbed(20)


@pytest.mark.parametrize("method", ["add", "close"])
@pytest.mark.parametrize("writer", ["files.PngShard", "objects.CocoShard", "hf.HfShard"])
def test_a_writer_that_raises(discs, tmp_path, undisturbed, monkeypatch, writer, method):
    with monkeypatch.context() as patch:
        calls = []

        def broken(self, *args):
            calls.append(self)
            if len(calls) == 3:
                raise RuntimeError("the writer broke")
            return real(self, *args)

        module, name = writer.split(".")
        holder = getattr(__import__("l4f_datagen.dataset.formats", fromlist=[module]), module)
        real = getattr(getattr(holder, name), method)
        patch.setattr(getattr(holder, name), method, broken)
        with pytest.raises(RuntimeError, match="the writer broke"):
            discs.make_dataset(tmp_path / "a", 20)
    assert not [name for name in discs.files_of(tmp_path / "a") if ".part" in name]
    discs.make_dataset(tmp_path / "a", 20)
    assert discs.files_of(tmp_path / "a") == undisturbed(20)


def test_stale_parts_and_unmarked_files_are_swept(discs, tmp_path, undisturbed):
    discs.make_dataset(tmp_path / "a", 9)
    folder = tmp_path / "a"
    for name in (
        *("images/00001.part/x.png", "images/00007/y.png", "masks/00012.part/z.png"),
        *("data/train-00003.parquet", "data/train-00001.parquet.part", "manifest.json.part"),
        *(".l4f/coco/00009.tsv", ".l4f/shards/00004.json.part", ".l4f/run.json.part"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"left")
    discs.make_dataset(folder, 9)
    assert discs.files_of(folder) == undisturbed(9)


def test_files_of_others_beside_ours_stay(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    for name in ("notes.txt", "images/readme.txt", "data/train-x.parquet"):
        (tmp_path / name).write_text("mine")
    discs.make_dataset(tmp_path, 5, overwrite=True)
    for name in ("notes.txt", "images/readme.txt", "data/train-x.parquet"):
        assert (tmp_path / name).read_text() == "mine"


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


def test_a_failing_finish_leaves_no_half_index(discs, tmp_path, undisturbed, monkeypatch):
    def broken(shards, out):
        out.write("{")
        raise RuntimeError("merging broke")

    with monkeypatch.context() as patch:
        patch.setattr("l4f_datagen.dataset.indexes.write_ledger", broken)
        with pytest.raises(RuntimeError, match="merging broke"):
            discs.make_dataset(tmp_path / "a", 9)
    assert not (tmp_path / "a/ledger.jsonl").exists()
    assert not (tmp_path / "a/manifest.json").exists()
    discs.make_dataset(tmp_path / "a", 9)
    assert discs.files_of(tmp_path / "a") == undisturbed(9)


@pytest.mark.parametrize("change", [{"rows": []}, {"accepted": "x"}, {"files": []}, None])
def test_a_marker_damaged_by_hand_is_made_again(discs, tmp_path, undisturbed, change):
    discs.make_dataset(tmp_path / "a", 9)
    path = tmp_path / "a/.l4f/shards/00001.json"
    if change is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    notes = discs.make_dataset(tmp_path / "a", 9)
    assert notes == ["shard 1: its marker is damaged; made again"]
    assert discs.files_of(tmp_path / "a") == undisturbed(9)


def test_counts_that_do_not_add_up_are_refused(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    path = tmp_path / ".l4f/shards/00000.json"
    marker = json.loads(path.read_bytes())
    marker["files"] = [fact for fact in marker["files"] if not fact[0].startswith("images/")]
    path.write_text(json.dumps(marker))
    with pytest.raises(
        L4FError, match=r"the counts of shard 0 do not add up; start over with --ov"
    ):
        discs.make_dataset(tmp_path, 9)
