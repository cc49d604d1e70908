"""Shard jobs and their merge: the bytes of one undisturbed run, or a word on what is missing."""

import json
import shutil
from types import SimpleNamespace

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.pipeline.merge import merge_dataset, missing_shards
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.plan import Sweep
from l4f_datagen.rendering.quota import Quota, Share

RENDERED = "the needed ones are rendered here"
NUMBER = 30


def merge(out, *parts, **options):
    merge_dataset(out, parts, **options)


@pytest.fixture
def run_job(make):
    """Run job ``index`` of so many."""

    def call(out, index, jobs=2, *, number=NUMBER, **options):
        make(out, number, share=Share(index, jobs), **options)

    return call


@pytest.fixture
def whole(made):
    """The digests of one run."""
    return lambda number=NUMBER, **options: made("whole", number, **options)


@pytest.mark.parametrize("count", ["accepted", pytest.param("attempts", marks=pytest.mark.slow)])
def test_jobs_in_one_folder_end_in_the_bytes_of_one_run(run_job, tmp_path, digests, whole, count):
    for index in (2, 0, 1):
        run_job("out", index, 3, count=count)
    assert not (tmp_path / "out/manifest.json").exists()
    merge(tmp_path / "out")
    assert digests(tmp_path / "out") == whole(count=count)


def test_jobs_in_folders_of_their_own_of_which_one_is_incomplete(run_job, tmp_path, digests, whole):
    parts = [tmp_path / f"part{index}" for index in range(2)]
    for index, part in enumerate(parts):
        run_job(part, index)
    before = [digests(part) for part in parts]
    merge(tmp_path / "out", *parts)
    assert digests(tmp_path / "out") == whole()
    assert [digests(part) for part in parts] == before
    shutil.rmtree(parts[1] / "masks/00001")  # the shard is not copied
    merge(tmp_path / "again", *parts)
    assert digests(tmp_path / "again") == digests(tmp_path / "out")


def test_what_is_missing_is_named_and_filled_when_asked(run_job, tmp_path, digests, whole, caplog):
    out = tmp_path / "out"
    run_job(out, 0, count="attempts")
    missing = "shards 1, 3 are missing; of 2 jobs 1 have not finished"
    remedy = "run make with --shard 1/2 again, or merge with --fill"
    with pytest.raises(L4FError, match=f"out: {missing}; {remedy}"):
        merge(out)
    merge(out, fill=True)
    assert f"shards 1, 3 are missing; {RENDERED}" in caplog.messages
    assert digests(out) == whole(count="attempts")


def test_jobs_that_do_not_belong_together_are_refused(run_job, tiny_recipe, tmp_path):
    run_job("a", 0)
    run_job("a", 1, number=12)
    different = "jobs were started with different numbers"
    with pytest.raises(UsageError, match=rf"{different} \(--n 12 --count"):
        merge(tmp_path / "a")
    tiny_recipe["output"]["mask_threshold"] = 0.6
    run_job("b", 1)
    with pytest.raises(
        UsageError,
        match=r"b: holds a dataset of another recipe \('mask_threshold: 0.6', now 'mask_threshold: "
        r"0.5'\); leave it out: .*/a has other samples",
    ):
        merge(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    with pytest.raises(UsageError, match=f"out: {different}"):
        merge(tmp_path / "out", tmp_path / "a")
    assert not (tmp_path / "out").exists()


def test_of_bad_places_and_parts_nothing_is_copied(run_job, tmp_path):
    part, out, others = (tmp_path / name for name in ("part", "out", "others"))
    run_job(part, 0, 1)
    photo = others / "images/00000/holiday.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"precious")
    for place, parts, told in (
        (others, [part], "others: is not empty, and was not made by this tool"),
        (photo, [part], "jpg: expected a folder, got a file"),
        (part, [part], "part: is both a part and --out; name a new folder"),
        (out, [part, tmp_path / "nothere"], "nothere: holds no shards of a dataset; name the --o"),
        ("memory://out", [part], "cannot take folders; let the jobs write to the URL"),
        (tmp_path / "nothing", [], "nothing: holds no shards of a dataset; name the --out"),
    ):
        with pytest.raises(UsageError, match=told):
            merge(place, *parts)
    record = part / ".l4f/run.json"
    whole = json.loads(record.read_bytes())
    wrong_recipes = [json.dumps(whole | {"recipe": recipe}) for recipe in (5, "[")]
    for damaged in ("[", "{}", *wrong_recipes):
        record.write_text(damaged)
        with pytest.raises(UsageError, match=r"part: its record .l4f/run.json is damaged; make it"):
            merge(out, part)
    assert not out.exists()
    assert [path for path in others.rglob("*") if path.is_file()] == [photo]


def test_a_merge_of_a_torn_shard_stopped_as_it_writes_the_indexes_goes_on(
    run_job, tmp_path, digests, whole, monkeypatch, caplog
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    for index in range(2):
        run_job(out, index)
    next((out / "images/00001").iterdir()).write_bytes(b"torn")
    with monkeypatch.context() as patch:
        patch.setattr("l4f_datagen.dataset.store.write_indexes", stop)
        with pytest.raises(KeyboardInterrupt):
            merge(out)
    assert "shard 1: 1 files missing or cut short; made again" in caplog.messages
    assert not (out / "manifest.json").exists()
    merge(out)
    assert digests(out) == whole()


@pytest.mark.parametrize("place", ["folder", pytest.param("url", marks=pytest.mark.slow)])
def test_a_second_merge_has_nothing_to_do(run_job, tmp_path, digests, place, caplog):
    out = tmp_path / "out" if place == "folder" else f"file://{tmp_path}/out"
    run_job(out, 0, 1)
    merge(out)
    before = digests(tmp_path / "out")
    caplog.clear()
    merge(out)
    assert caplog.messages == [f"{out} is already finished"]
    assert digests(tmp_path / "out") == before


@pytest.mark.parametrize(
    "where", ["shared", *(pytest.param(where, marks=pytest.mark.slow) for where in ("part", "url"))]
)
def test_a_damaged_marker_counts_for_none(run_job, tmp_path, digests, whole, where, caplog):
    folder = tmp_path / "made"
    out = f"file://{folder}" if where == "url" else folder
    for index in range(2):
        run_job(out, index)
    marker = folder / ".l4f/shards/00001.json"
    marker.write_bytes(marker.read_bytes()[:99])
    merge(tmp_path / "out", folder) if where == "part" else merge(out)
    (said,) = [message for message in caplog.messages if message.startswith("shards 1")]
    assert said.endswith(RENDERED)
    assert digests(tmp_path / "out" if where == "part" else folder) == whole()


def test_a_plan_with_an_end_and_a_job_that_did_not_run(
    run_job, tiny_recipe, tmp_path, digests, whole, caplog
):
    tiny_recipe["sampling"] |= {"seeds": "0-29", "psi": [0.7]}
    out = tmp_path / "out"
    run_job(out, 1, number=12)
    missing = r"shards 0, 2.* are missing; of 2 jobs 0 have not finished; run make with --shard 0/2"
    with pytest.raises(L4FError, match=missing):
        merge(out)
    merge(out, fill=True)
    assert any(message.endswith(RENDERED) for message in caplog.messages)
    assert digests(out) == whole(number=12)


def test_a_folder_without_jobs_is_refused(make, tmp_path):
    make("whole", 3)
    (tmp_path / "whole/manifest.json").unlink()
    with pytest.raises(UsageError, match=r"no shard job has finished here; run make with"):
        merge(tmp_path / "whole")


@pytest.mark.parametrize(
    ("count", "there", "missing"),
    [
        ("accepted", {0: 3, 1: 3}, [2]),  # nobody knows what lies behind shard 2
        ("accepted", {0: 3, 2: 6}, [1]),
        ("accepted", {0: 4, 1: 6}, []),
        ("attempts", {1: 6}, [0]),
        ("attempts", {}, [0, 1]),
    ],
)
def test_missing_shards_end_where_the_dataset_does(count, there, missing):
    quota = Quota(10, count, Sweep((0.5, 1.0), parse_seeds("0-"), 3, 2))

    markers = {k: SimpleNamespace(accepted=n, attempted=6, rejected={}) for k, n in there.items()}
    assert missing_shards(quota, there, markers.get) == missing
