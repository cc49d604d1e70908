import subprocess
import sys

import pytest

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io import training_folder
from l4f_datagen.io.training_folder import claim_folder, hold_folder, is_claimed, try_lock

OTHER = "holds another training"


@pytest.mark.parametrize("left", [None, "training-id", "training-id.part"])
def test_a_folder_is_claimed_once_and_again_and_a_claim_cut_short_is_none(tmp_path, left):
    out = tmp_path / "new" / "run"
    if left:
        out.mkdir(parents=True)
        (out / left).touch()
    claim_folder(out, "abc", other=OTHER)
    claim_folder(out, "abc", other=OTHER)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"training-id": "abc\n"}
    claimed = [is_claimed(out, "abc"), is_claimed(out, "abd"), is_claimed(tmp_path, "abc")]
    assert claimed == [True, False, False]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"training-id": b"abd"}, "holds another training; name another --out or remove"),
        ({"training-id": bytes(range(256))}, "holds another training"),
        ({"notes.txt": b"mine"}, "is not empty and holds other files; name another --out"),
        ({"notes.txt": b"mine", "training-id": b""}, "is not empty and holds other files"),
    ],
)
def test_folders_of_others_are_refused(tmp_path, files, problem):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=problem):
        claim_folder(tmp_path, "abc", other=OTHER)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_file_is_no_folder_and_what_is_not_there_cannot_be_locked(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match=r"deeper: cannot be used \(.+\); name a folder"):
        claim_folder(tmp_path / "run" / "deeper", "abc", other=OTHER)
    expected = r"none: cannot be locked \(No such file or directory\)"
    with pytest.raises(UsageError, match=expected), hold_folder(tmp_path / "none"):
        pass


def test_on_a_full_disk_the_folder_is_not_claimed(tmp_path, fill_disk):
    fill_disk(tmp_path / "training-id")
    with pytest.raises(OSError, match="No space left"):
        claim_folder(tmp_path, "abc", other=OTHER)
    assert not list(tmp_path.iterdir())
    claim_folder(tmp_path, "abc", other=OTHER)


def hold_elsewhere(folder):
    """Another process that holds the folder until it is killed."""
    code = (
        "import sys, pathlib; from l4f_datagen.io.training_folder import hold_folder\n"
        "with hold_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_waits_until_the_first_is_gone(tmp_path, monkeypatch, caplog):
    claim_folder(tmp_path, "abc", other=OTHER)
    other, waits = hold_elsewhere(tmp_path), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            other.kill()
            other.communicate()

    monkeypatch.setattr(training_folder.time, "sleep", sleep)
    with hold_folder(tmp_path), (tmp_path / "lock").open("a") as file:
        assert len(waits) == 2
        assert not try_lock(file)
    assert caplog.text.count("another process works here; waiting for it to end") == 1
    with (tmp_path / "lock").open("a") as file:
        assert try_lock(file)


def test_a_folder_that_is_claimed_at_the_same_moment(tmp_path, monkeypatch):
    """Both stage the marker under one name; the other process renames it first."""
    write = training_folder.write_atomically

    def beaten(path, data, **options):
        write(path, data, **options)
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(training_folder, "write_atomically", beaten)
    claim_folder(tmp_path / "out", "abc", other=OTHER)
    assert is_claimed(tmp_path / "out", "abc")
    monkeypatch.setattr(training_folder, "write_atomically", lambda *a, **k: beaten(a[0], b"def"))
    with pytest.raises(UsageError, match="cannot be used"):
        claim_folder(tmp_path / "other", "abc", other=OTHER)


def test_processes_that_train_together_take_one_lock(tmp_path):
    """The one that leads takes it; the others ask whether any has."""
    asked = []

    def agree(mine):
        asked.append(mine)
        return True

    with (tmp_path / "lock").open("a") as file, hold_folder(tmp_path, leads=False, agree=agree):
        assert try_lock(file)
    assert asked == [False]
