import pytest

from l4f_datagen.errors import UsageError
from l4f_datagen.training_folder import claim_folder

OTHER = "holds another training"


def test_a_folder_is_claimed_once_and_again(tmp_path):
    out = tmp_path / "new" / "run"
    claim_folder(out, "abc", other=OTHER)
    claim_folder(out, "abc", other=OTHER)
    assert (out / "training-id").read_text() == "abc\n"


def test_the_folder_of_another_training_is_refused(tmp_path):
    claim_folder(tmp_path, "abc", other=OTHER)
    with pytest.raises(UsageError, match="holds another training; name another --out or remove"):
        claim_folder(tmp_path, "abd", other=OTHER)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds other files; name another --out"):
        claim_folder(tmp_path, "abc", other=OTHER)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match=r"deeper: cannot be used \(.+\); name a folder"):
        claim_folder(tmp_path / "run" / "deeper", "abc", other=OTHER)
