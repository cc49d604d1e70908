import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager, nullcontext

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.open import open_dataset
from l4f_datagen.recipe import OutputPart


def test_a_folder_is_made_with_its_parents(discs, tmp_path):
    discs.make_dataset(tmp_path / "a/b", 2)
    assert (tmp_path / "a/b/manifest.json").is_file()


def test_a_foreign_folder_is_refused_and_left_alone(discs, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            UsageError,
            match=f"^{tmp_path}: not empty, and not made by this tool; choose another folder$",
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
            r"background pictures have changed\); choose another folder",
        ),
        ({"formats": ["png"]}, "begun with formats png, coco, hf, now png; .* --overwrite"),
        ({"output": {"alpha_bits": 16}}, "begun with alpha bits 8, now 16; .* --overwrite"),
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

    def blocks(shard):
        rendered.append(shard)
        return discs.plan_blocks(shard)

    discs.make_dataset(tmp_path, 9)
    discs.make_dataset(tmp_path, 9, blocks=blocks, overwrite=True)
    assert rendered == [0, 1]


def test_another_wording_of_the_same_recipe_resumes_and_is_recorded(discs, tmp_path):
    discs.make_dataset(tmp_path, 9)
    discs.make_dataset(tmp_path, 9, recipe="n: 9\ncategory: disc\n")
    assert (tmp_path / "recipe.yaml").read_text() == "n: 9\ncategory: disc\n"
    assert json.loads((tmp_path / ".l4f/run.json").read_bytes())["recipe"].startswith("n: 9")


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"{}"])
def test_a_damaged_record(discs, tmp_path, record):
    discs.make_dataset(tmp_path, 3)
    (tmp_path / ".l4f/run.json").write_bytes(record)
    with pytest.raises(UsageError, match=r"its record .l4f/run.json is damaged; .*--overwrite"):
        discs.make_dataset(tmp_path, 3)
    discs.make_dataset(tmp_path, 3, overwrite=True)


def test_a_layout_of_another_version(discs, tmp_path):
    discs.make_dataset(tmp_path, 3)
    (tmp_path / ".l4f/run.json").write_bytes(b'{"schema": 99}')
    with pytest.raises(UsageError, match=r"laid out by another version \(99, now 1\); .*--overwr"):
        discs.make_dataset(tmp_path, 3)


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


def test_one_process_cannot_open_it_twice(discs, tmp_path):
    options = {**discs.RUN, "output": OutputPart(formats=("png",))}
    with (
        open_dataset(tmp_path, **options),
        pytest.raises(UsageError, match="another process is writing here"),
        open_dataset(tmp_path, **options),
    ):
        pass
    with open_dataset(tmp_path, **options), nullcontext():
        pass
