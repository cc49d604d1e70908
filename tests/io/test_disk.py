import errno
import os
from pathlib import Path

import pytest

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.io.disk import (
    disk_failures,
    has_size,
    remove,
    staged,
    write_atomically,
    write_named,
)

GOES_ON = "and run the same command again: it goes on after the last finished shard"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        *(
            (OSError(code, os.strerror(code)), "no space left on the disk while trying; make room")
            for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        ),
        (OSError(errno.EIO, "broken"), "broken while trying; check the disk"),
        (OSError("no number"), "no number while trying; check the disk"),
    ],
)
def test_failures_of_the_disk_are_told_in_one_line(tmp_path, error, words):
    with (
        pytest.raises(L4FError, match=f": {words} {GOES_ON}$") as told,
        disk_failures(tmp_path, "trying"),
    ):
        raise error
    assert told.value.__cause__ is error


@pytest.mark.parametrize("durable", [False, True])
def test_a_small_file_is_replaced_whole(tmp_path, durable):
    path = tmp_path / "a/b.json"
    for data in (b"long before", b"now"):
        write_atomically(path, data, durable=durable)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_atomically, write_named])
def test_on_a_full_disk_the_old_file_stays_and_nothing_besides(tmp_path, fill_disk, write):
    path = tmp_path / "a.json"
    path.write_bytes(b"before")
    fill_disk(path)
    with pytest.raises(OSError, match="No space left") as raised:
        write(path, b"now")
    assert not isinstance(raised.value, UsageError)  # the name is not at fault
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


def stop(path):
    with staged(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_what_is_stopped_half_way_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stop(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_has_size(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    asked = (("a", 3), ("a", 4), ("b", 0), ("a/below", 3))
    assert [has_size(tmp_path / name, size) for name, size in asked] == [True, False, False, False]


def test_remove_takes_files_folders_and_the_empty_parent_but_no_link_target(tmp_path):
    target = tmp_path / "target/file"
    for name in ("target/file", "x/folder/file", "x/file", "y/file", "y/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(target.parent)
    for name in ("x/folder", "x/file", "y/file", "z/nothing", "link"):
        remove(tmp_path / name)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        *("target", "target/file", "y", "y/other")
    }


def test_a_named_file_that_cannot_be_written_is_refused(tmp_path):
    assert write_named(tmp_path / "new" / "a.html", b"x").read_bytes() == b"x"
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
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder", "new"]
