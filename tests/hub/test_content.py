"""A push to a folder: the same files, in a safe order, and what it refuses."""

import json
import shutil

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.hub import content


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
    assert not {"README.md", "manifest.json"} & {path.name for path in copy.iterdir()}
    monkeypatch.undo()
    result = cli_run("push", dataset, "--to-folder", copy, "--json")
    assert result.exit_code == 0, result.output
    wanted = [file.path for file in content.read_content(dataset).files]
    assert json.loads(result.stdout)["files"] == len(wanted) - 3
    found = {path.relative_to(copy).as_posix(): path for path in copy.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(wanted)
    assert all(path.read_bytes() == (dataset / name).read_bytes() for name, path in found.items())
    assert content.push_to_folder(dataset, copy).files == 0
    found[wanted[0]].write_bytes(b"x")
    extra = copy / "data" / "train-00099.parquet"
    extra.write_bytes(b"old")
    mended = content.push_to_folder(dataset, copy)
    assert (mended.files, mended.removed, extra.exists()) == (1, 1, False)


def test_what_is_refused(dataset, tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for target, words in (
        (full, "holds something else than a copy of this dataset; name a new folder"),
        (file, "is a file"),
        *((inside, "is in the dataset, or holds it") for inside in (dataset / "x", dataset.parent)),
    ):
        with pytest.raises(UsageError, match=words):
            content.push_to_folder(dataset, target)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
