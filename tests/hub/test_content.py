"""A push to a folder: the same files, in a safe order, and what it refuses."""

import json
import shutil

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.hub import content
from l4f_datagen.hub.content import push_to_folder
from l4f_datagen.hub.publish import plan_push


def test_the_copy_has_the_files_of_a_push_and_goes_on_where_it_was_cut(
    cli_run, dataset, tmp_path, monkeypatch
):
    copy, real, written = tmp_path / "a" / "copy", shutil.copyfileobj, []

    def cut(source, target):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(source.name)
        real(source, target)

    monkeypatch.setattr(content.shutil, "copyfileobj", cut)
    result = cli_run("push", dataset, "--to-folder", copy)
    assert result.exit_code == 1
    assert "no space left on the disk while copying the dataset" in result.output
    assert not (copy / "README.md").exists()
    assert not (copy / "manifest.json").exists()
    monkeypatch.undo()
    result = cli_run("push", dataset, "--to-folder", copy, "--json")
    assert result.exit_code == 0, result.output
    wanted = plan_push(dataset, "user/discs").content.files
    assert json.loads(result.stdout)["files"] == len(wanted) - 3
    found = {path.relative_to(copy).as_posix(): path for path in copy.rglob("*") if path.is_file()}
    assert set(found) == {file.path for file in wanted}
    assert all(path.read_bytes() == (dataset / name).read_bytes() for name, path in found.items())
    assert push_to_folder(dataset, copy).files == 0
    (copy / wanted[0].path).write_bytes(b"x")
    extra = copy / "data" / "train-00099.parquet"
    extra.write_bytes(b"old")
    mended = push_to_folder(dataset, copy)
    assert (mended.files, mended.removed, extra.exists()) == (1, 1, False)


def test_what_is_refused(dataset, tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for target, words in (
        (full, "holds something else than a copy of this dataset; name a new folder"),
        (file, "is a file"),
        (dataset / "copy", "is in the dataset"),
        (dataset.parent, "or holds it"),
    ):
        with pytest.raises(UsageError, match=words):
            push_to_folder(dataset, target)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
