import pytest

from l4f_datagen.errors import UsageError
from l4f_datagen.report.named_file import write_named


def test_a_file_replaces_what_was_there_and_leaves_no_part(tmp_path):
    path = tmp_path / "new" / "a.html"
    assert write_named(path, b"old") == path
    write_named(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.html"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/a: cannot be written \(.*\); name another file"):
        write_named(tmp_path / "file" / "a", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"folder: cannot be written \(Is a directory\)"):
        write_named(tmp_path / "folder", b"")
