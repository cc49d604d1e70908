"""Folders of others, of other recipes, in use or read-only are refused and left as they are."""

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.ownership import JobRecord, read_records
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart
from l4f_datagen.rendering.quota import Share

HALF = Share(0, 2)
IN_USE = "another process is writing here; wait for it to end or choose another folder"


@pytest.fixture
def refused(discs, tmp_path):
    """Expect a refusal that leaves every file as it was."""

    @contextmanager
    def of(words):
        before = discs.files_of(tmp_path)
        with pytest.raises(UsageError, match=words):
            yield
        assert discs.files_of(tmp_path) == before

    return of


def test_files_of_others_are_refused_and_left_alone(discs, refused, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    words = f"^{tmp_path}: is not empty, and was not made by this tool; choose another fol"
    for overwrite in (False, True):
        with refused(words):
            discs.make_dataset(tmp_path, 2, overwrite=overwrite)
    with refused("tex: expected a folder, got a file; choose another"):
        discs.make_dataset(tmp_path / "thesis.tex", 2)
    with refused(r"cannot be written \(Not a directory\); choose another"):
        discs.make_dataset(tmp_path / "thesis.tex/below", 2)


@contextmanager
def read_only(folder):
    """Take away writing, from root too where it may mount."""
    if os.geteuid() != 0:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        yield
        folder.chmod(stat.S_IRWXU)
        return
    mount = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("root writes everywhere, and cannot mount read-only here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("finished", [False, True])
def test_a_read_only_folder(discs, refused, tmp_path, finished):
    (tmp_path / "out").mkdir()
    if finished:
        discs.make_dataset(tmp_path / "out", 2)
    with read_only(tmp_path / "out"), refused(r"out: cannot be written \("):
        discs.make_dataset(tmp_path / "out", 2)


OTHER = "holds a dataset of another recipe"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"recipe_hash": "other", "recipe": "category: cat\npsi: 1\n"},
            f"{OTHER} ('category: disc', now 'category: cat')",
        ),
        (
            {"recipe_hash": "other"},
            f"{OTHER} (its text is the same: weights, latents or background images have changed)",
        ),
        ({"formats": ["png"]}, "was made with formats png, coco, hf, now png"),
        ({"output": {"alpha_bits": 16}}, "was made with alpha bits 8, now 16"),
        *((data, "its record .l4f/run.json is damaged") for data in (b"", b"{", b"[]", b"{}")),
        (b'{"schema": 99}', "has the layout of another version (99, now 2)"),
    ],
)
def test_another_run_or_a_damaged_record_is_refused_unless_it_overwrites(
    discs, refused, tmp_path, change, words
):
    folder, fresh = tmp_path / "a", tmp_path / "b"
    discs.make_dataset(folder, 9)
    if isinstance(change, bytes):
        (folder / ".l4f/run.json").write_bytes(change)
        change = {}
    remedy = "choose another folder or start over with --overwrite"
    with refused(re.escape(f"{folder}: {words}; {remedy}")):
        discs.make_dataset(folder, 9, **change)
    discs.make_dataset(folder, 4, **change, overwrite=True)
    discs.make_dataset(fresh, 4, **change)
    assert discs.files_of(folder) == discs.files_of(fresh)
    assert {p.name for p in folder.rglob("*")} == {p.name for p in fresh.rglob("*")}


def test_another_wording_of_the_same_recipe_resumes_and_is_recorded(discs, tmp_path):
    rendered, words = [], "n: 9\ncategory: disc\n"
    discs.make_dataset(tmp_path, 9)
    discs.make_dataset(tmp_path, 9, recipe=words, blocks=discs.recorded(rendered))
    assert rendered == []
    assert (tmp_path / "recipe.yaml").read_text() == words
    assert json.loads((tmp_path / ".l4f/run.json").read_bytes())["recipe"] == words
    discs.make_dataset(tmp_path, 9, blocks=discs.recorded(rendered), overwrite=True)
    assert rendered == [0, 1]  # what was finished too


HOLD = (
    "import fcntl, sys\n"
    "file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True); sys.stdin.read()"
)


def test_a_second_process_is_refused_and_the_first_goes_on(discs, refused, tmp_path):
    discs.make_dataset(tmp_path, 9)
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".l4f/lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        for overwrite in (False, True):
            with refused(IN_USE):
                discs.make_dataset(tmp_path, 15, overwrite=overwrite)
        other.stdin.close()
    discs.make_dataset(tmp_path, 15)


@pytest.fixture
def opened(discs, tmp_path):
    def of(share=None):
        output = OutputPart(formats=discs.ALL)
        return open_dataset(tmp_path / "out", **discs.RUN, output=output, share=share)

    return of


def test_jobs_write_side_by_side_and_a_make_ends_in_the_same_bytes(discs, opened, tmp_path):
    with opened(HALF) as even, opened(Share(1, 2)) as odd:
        for shard in range(3):
            dataset = odd if shard % 2 else even
            dataset.write(shard, discs.plan_blocks(shard), planned=8)
        even.record_job(JobRecord(HALF, 15, "accepted"))
    discs.make_dataset(tmp_path / "out", 15)
    discs.make_dataset(tmp_path / "alone", 15)
    assert discs.files_of(tmp_path / "out") == discs.files_of(tmp_path / "alone")


@pytest.mark.parametrize(
    ("held", "wanted", "subject"),
    [(HALF, HALF, r"out \(--shard 0/2\)"), (HALF, None, "out"), (None, HALF, "out")],
)
def test_the_same_share_twice_and_a_make_beside_jobs(opened, held, wanted, subject):
    words = f"{subject}: {IN_USE}"
    with opened(held), pytest.raises(UsageError, match=words), opened(wanted):
        pass


def test_a_job_sweeps_its_own_shards_alone(opened, tmp_path):
    with opened():
        pass
    for shard in (0, 1):
        (tmp_path / f"out/images/{shard:05d}.part").mkdir(parents=True)
    with opened(Share(1, 2)):
        assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["00000.part"]


def test_records_are_read_back_in_order_and_damaged_ones_are_none(tmp_path):
    for index in (2, 0):
        JobRecord(Share(index, 3), 50, "attempts").write(tmp_path)
    (tmp_path / ".l4f/jobs/00001-of-00003.json").write_text("{")
    found = [JobRecord(Share(index, 3), 50, "attempts") for index in (0, 2)]
    assert read_records(tmp_path) == found
