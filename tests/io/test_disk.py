import errno
import os
from pathlib import Path

import pytest

from l4f_datagen.core.errors import L4FError
from l4f_datagen.io.disk import disk_failures, has_size, remove, staged, write_atomically

GOES_ON = "and run the same command again: it goes on after the last finished shard"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_in_one_line(code):
    with (
        pytest.raises(L4FError, match=r"^out: no space left on the disk while trying; make room "),
        disk_failures(Path("out"), "trying"),
    ):
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (OSError("no number"), "no number"),
    ],
)
def test_another_failure_of_the_disk(tmp_path, error, words):
    with (
        pytest.raises(L4FError, match=f"{words} while trying; check the disk {GOES_ON}$") as told,
        disk_failures(tmp_path, "trying"),
    ):
        raise error
    assert told.value.__cause__ is error


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match=r"^broken$"), disk_failures(tmp_path, "trying"):
        raise ValueError("broken")


@pytest.mark.parametrize("durable", [False, True])
def test_a_small_file_is_replaced_whole(tmp_path, durable):
    path = tmp_path / "a/b.json"
    for data in (b"long before", b"now"):
        write_atomically(path, data, durable=durable)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_on_a_full_disk_the_old_file_stays_and_nothing_besides(tmp_path, fill_disk):
    path = tmp_path / "a.json"
    path.write_bytes(b"before")
    fill_disk(path)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"now")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"before"


def test_what_is_stopped_half_way_leaves_nothing(tmp_path):
    def stopped():
        with staged(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not list(tmp_path.iterdir())


def test_has_size(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert has_size(tmp_path / "a", 3)
    assert not has_size(tmp_path / "a", 4)
    assert not has_size(tmp_path / "b", 0)
    assert not has_size(tmp_path / "a" / "below", 3)


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
