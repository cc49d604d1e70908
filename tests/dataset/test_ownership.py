import json
import os
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


def test_a_foreign_folder_is_refused_and_left_alone(discs, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            UsageError,
            match=f"^{tmp_path}: is not empty, and was not made by this tool; choose another fol",
        ):
            discs.make_dataset(tmp_path, 2, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_stopped_before_its_record_is_ours(discs, tmp_path):
    (tmp_path / ".l4f").mkdir()
    (tmp_path / ".l4f/lock").touch()
    (tmp_path / ".l4f/run.json.part").write_text("{")
    discs.make_dataset(tmp_path, 2)
    assert (tmp_path / "manifest.json").is_file()


def test_a_file_in_place_of_the_folder(discs, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="out: expected a folder, got a file; choose another"):
        discs.make_dataset(tmp_path / "out", 2)
    with pytest.raises(UsageError, match=r"cannot be written \(Not a directory\); choose another"):
        discs.make_dataset(tmp_path / "out/below", 2)
    assert (tmp_path / "out").read_text() == "a file"


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
def test_a_read_only_folder(discs, tmp_path, finished):
    folder = tmp_path / "out"
    folder.mkdir()
    if finished:
        discs.make_dataset(folder, 2)
    before = discs.files_of(folder)
    with read_only(folder), pytest.raises(UsageError, match=r"out: cannot be written \("):
        discs.make_dataset(folder, 2)
    assert discs.files_of(folder) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"recipe_hash": "other", "recipe": "category: cat\npsi: 1\n"},
            r"holds a dataset of another recipe \('category: disc', now 'category: cat'\); choose "
            "another folder or start over with --overwrite",
        ),
        (
            {"recipe_hash": "other"},
            r"holds a dataset of another recipe \(its text is the same: weights, latents or "
            r"background images have changed\); choose another folder",
        ),
        ({"formats": ["png"]}, "was made with formats png, coco, hf, now png; .* --overwrite"),
        ({"output": {"alpha_bits": 16}}, "was made with alpha bits 8, now 16; .* --overwrite"),
    ],
)
def test_another_run_is_refused_unless_it_overwrites(discs, tmp_path, change, match):
    folder, fresh = tmp_path / "a", tmp_path / "b"
    discs.make_dataset(folder, 9)
    before = discs.files_of(folder)
    with pytest.raises(UsageError, match=f"^{folder}: {match}"):
        discs.make_dataset(folder, 9, **change)
    assert discs.files_of(folder) == before
    discs.make_dataset(folder, 4, **change, overwrite=True)
    discs.make_dataset(fresh, 4, **change)
    assert discs.files_of(folder) == discs.files_of(fresh)
    assert {p.name for p in folder.rglob("*")} == {p.name for p in fresh.rglob("*")}


def test_overwriting_renders_again_what_was_finished(discs, tmp_path):
    rendered = []
    discs.make_dataset(tmp_path, 9)
    discs.make_dataset(tmp_path, 9, blocks=discs.recorded(rendered), overwrite=True)
    assert rendered == [0, 1]


def test_another_wording_of_the_same_recipe_resumes_and_is_recorded(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    discs.make_dataset(tmp_path, 9, recipe="n: 9\ncategory: disc\n")
    assert (tmp_path / "recipe.yaml").read_text() == "n: 9\ncategory: disc\n"
    assert json.loads((tmp_path / ".l4f/run.json").read_bytes())["recipe"].startswith("n: 9")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        *((data, "its record .l4f/run.json is damaged") for data in (b"", b"{", b"[]", b"{}")),
        (b'{"schema": 99}', r"has the layout of another version \(99, now 2\)"),
    ],
)
def test_a_damaged_record_or_one_of_another_version(discs, tmp_path, record, words):
    discs.make_dataset(tmp_path, 3)
    (tmp_path / ".l4f/run.json").write_bytes(record)
    with pytest.raises(UsageError, match=f"{words}; .*--overwrite"):
        discs.make_dataset(tmp_path, 3)
    discs.make_dataset(tmp_path, 3, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_process_is_refused_and_the_first_goes_on(discs, tmp_path, overwrite):
    hold = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    discs.make_dataset(tmp_path, 9)
    before = discs.files_of(tmp_path)
    command = [sys.executable, "-c", hold, str(tmp_path / ".l4f/lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another process is writing here; wait for it to"):
            discs.make_dataset(tmp_path, 15, overwrite=overwrite)
        assert discs.files_of(tmp_path) == before
        other.stdin.close()
    discs.make_dataset(tmp_path, 15)


@pytest.fixture
def opened(discs, tmp_path):
    def of(share=None, **options):
        given = {**discs.RUN, "output": OutputPart(formats=discs.ALL), "share": share, **options}
        return open_dataset(tmp_path / "out", **given)

    return of


def test_jobs_write_side_by_side_and_a_make_ends_in_the_same_bytes(discs, opened, tmp_path):
    with opened(Share(0, 2)) as even, opened(Share(1, 2)) as odd:
        for shard in range(3):
            dataset = odd if shard % 2 else even
            dataset.write(shard, discs.plan_blocks(shard), planned=8)
        even.record_job(JobRecord(Share(0, 2), 15, "accepted"))
    discs.make_dataset(tmp_path / "out", 15)
    discs.make_dataset(tmp_path / "alone", 15)
    assert discs.files_of(tmp_path / "out") == discs.files_of(tmp_path / "alone")


def test_the_same_share_twice_is_refused_and_so_is_a_make_beside_it(discs, opened, tmp_path):
    with opened(Share(0, 2)):
        with (
            pytest.raises(UsageError, match=r"out \(--shard 0/2\): another process is writing"),
            opened(Share(0, 2)),
        ):
            pass
        with pytest.raises(UsageError, match="out: another process is writing here"):
            discs.make_dataset(tmp_path / "out", 15)
    with (
        opened(),
        pytest.raises(UsageError, match="out: another process is writing here"),
        opened(Share(0, 2)),
    ):
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
