"""The format is told by the content: names mean nothing, and mistakes get their own words."""

import gzip
import io
import tarfile

import pytest

from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.errors import CheckpointRefused


@pytest.mark.parametrize("suffix", [".png", ".pt", ".pkl", ".safetensors", ""])
def test_names_mean_nothing(suffix, tmp_path, foreign):
    for name, path in foreign.every_format(tmp_path, foreign.make_generator()).items():
        renamed = path.rename(tmp_path / f"it{suffix}")
        assert open_generator(renamed).format == name.split()[0]
        renamed.rename(path)


def _tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pt"), io.BytesIO())
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; download the checkpoint itself"),
        (b"\x89PNG\r\n\x1a\n123", "is a PNG, JPEG or GIF"),
        (b"\xff\xd8\xff\xe0 JFIF", "is a PNG, JPEG or GIF"),
        (b"GIF89a", "is a PNG, JPEG or GIF"),
        (b"  <!DOCTYPE html><html>", "is a web page or XML"),
        (b'{"error": "not found"}', "is text"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (gzip.compress(b"x" * 100, mtime=0), "compressed with .*; unpack it first"),
        (b"BZh91AY", "compressed with"),
        (b"\xfd7zXZ\x00", "compressed with"),
        (b"7z\xbc\xaf\x27\x1c", "compressed with"),
        (b"Rar!\x1a\x07", "compressed with"),
        (_tar(), "is a tar archive"),
        (b"hello world, this is a text", r"no checkpoint .it starts with b'hello wo'"),
        (bytes(100), "no checkpoint"),
    ],
)
def test_other_files_are_told_what_they_are(data, said, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_cut_off_files_are_refused(keep, tmp_path, foreign):
    for path in foreign.every_format(tmp_path, foreign.make_generator()).values():
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(CheckpointRefused):
            open_generator(path)


def test_unknown_layouts_list_their_keys(refused):
    shown = ", ".join(f"key{k}" for k in range(8))
    refused({f"key{k}": k for k in range(12)}, rf"its keys are {shown} and 4 more")
