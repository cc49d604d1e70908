import errno
from pathlib import Path

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.named_file import write_named


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
    for folder in (tmp_path / "folder", Path()):
        with pytest.raises(UsageError, match=r": is a folder; name another file"):
            write_named(folder, b"")
    for length in (252, 300):  # too long with .part, too long by itself
        with pytest.raises(UsageError, match=r": cannot be written \(File name too long\); name"):
            write_named(tmp_path / ("a" * length), b"")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_is_no_wrong_name(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_named(tmp_path / "a", b"")
    assert not isinstance(raised.value, UsageError)
    assert list(tmp_path.iterdir()) == []
