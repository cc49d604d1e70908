"""Files of torch.save, zip and older streams, against torch.load; what is none is named."""

import argparse
import gzip
import io
import struct
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.byte_source import ByteSource, Span
from l4f_datagen.checkpoints.containers import load_torch, read_members
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.checkpoints.pickle_machine import Budget
from l4f_datagen.checkpoints.stand_ins import Record
from l4f_datagen.checkpoints.tensors import StoredTensor
from l4f_datagen.core.errors import CheckpointRefused

LEGACY = pytest.mark.parametrize("legacy", [False, True])


@pytest.mark.parametrize("suffix", [".png", ".pkl", ".safetensors", ""])
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
        (b"\x89PNG\r\n\x1a\n123", "is a PNG, JPEG or GIF image"),
        (b"\xff\xd8\xff\xe0 JFIF", "is a PNG, JPEG or GIF image"),
        (b"  <!DOCTYPE html><html>", "is a web page or XML"),
        (b'{"error": "not found"}', "is text"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (gzip.compress(b"x" * 100, mtime=0), "compressed with .*; unpack it first"),
        (b"7z\xbc\xaf\x27\x1c", "compressed with .*; unpack it first"),
        (_tar(), "is a tar archive"),
        (b"hello world, this is a text", r"no checkpoint .it starts with b'hello wo'"),
    ],
)
def test_other_files_are_told_what_they_are(data, said, tmp_path):
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(tmp_path / "model.pt")


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_cut_off_files_are_refused(keep, tmp_path, foreign):
    for path in foreign.every_format(tmp_path, foreign.make_generator()).values():
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(CheckpointRefused):
            open_generator(path)


@pytest.fixture
def load():
    """Open torch files that stay readable until the test ends."""
    with ExitStack() as stack:
        yield lambda path: load_torch(stack.enter_context(ByteSource(path)).whole, Budget())


@LEGACY
def test_tensors_are_those_of_torch_load(legacy, tmp_path, load, foreign):
    base = torch.randn(4, 6, 5, 3)
    views = {
        "whole": base,
        "part": base[1:3, 2],
        "transposed": base.transpose(0, 3),
        "steps": base.flatten()[3::7],
        "channels_last": base.to(memory_format=torch.channels_last),
        "number": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(base[0]),
        **{str(dtype): base.to(dtype) for dtype in (torch.half, torch.bfloat16, torch.double)},
    }
    path = foreign.write_torch(tmp_path / "t", views, legacy=legacy)
    expected, loaded = torch.load(path, weights_only=True), load(path)
    assert list(loaded) == list(expected)
    for name, tensor in loaded.items():
        tensor.check(name)
        read = tensor.read()
        assert (read.is_contiguous(), read.dtype) == (True, torch.float32)
        assert torch.equal(read, expected[name].float()), name


@LEGACY
def test_training_state_beside_the_weights_is_read_as_plain_data(legacy, tmp_path, load, foreign):
    numbers = defaultdict(dict)
    numbers[0]["step"] = 3
    value = {
        "args": argparse.Namespace(size=64, device=torch.device("cuda:0"), latent=512),
        "state": numbers,
        "numpy": np.float32(0.25),
        "shape": torch.Size([2, 3]),
        "betas": (0.0, 0.99),
        "ordered": OrderedDict(a=1),
    }
    loaded = load(foreign.write_torch(tmp_path / "t", value, legacy=legacy))
    arguments = loaded.pop("args")
    assert isinstance(arguments, Record)
    assert arguments.state["size"] == 64
    expected = {"state": {0: {"step": 3}}, "numpy": 0.25, "shape": (2, 3), "betas": (0.0, 0.99)}
    assert loaded == {**expected, "ordered": {"a": 1}}


def test_nothing_is_read_before_it_is_asked_for(tmp_path, load, foreign):
    """The values are overwritten between opening and reading: reading sees the new ones."""
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(100_000)})
    loaded, data = load(path), path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<f", 1.0), struct.pack("<f", 2.0)))
    assert float(loaded["a"].read().sum()) == 200_000
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointRefused, match="ends after"):
        loaded["a"].read()


def _zip(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("data/0", None, "lacks the storage '0'"),
        ("data/0", b"1234", "holds 4 bytes for 10 values"),
        ("data.pkl", None, "without torch weights"),
        ("constants.pkl", b"", "TorchScript"),
        ("byteorder", b"big", "big-endian"),
        ("byteorder", b"little" * 20, "big-endian"),
    ],
)
def test_archives_that_do_not_fit_are_refused(name, data, said, tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(10)})
    with zipfile.ZipFile(path) as archive:
        members = {item: archive.read(item) for item in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    changed = {**members, f"{root}/{name}": data}
    path.write_bytes(_zip({item: held for item, held in changed.items() if held is not None}))
    with pytest.raises(CheckpointRefused, match=said):
        load(path)


CUT = r"ends early|without an end|no valid pickle"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # How many values the one storage has, before its 40 bytes at the end.
        ((10).to_bytes(8, "little"), (11).to_bytes(8, "little"), "stores another length"),
        (b"little_endianq\x02\x88", b"little_endianq\x02\x89", "big-endian"),
        (b"\x80\x02M\xe9\x03.", b"\x80\x02M\xe8\x03.", "unknown version"),
        (b"\x80\x02]", b"\x80\x02]." + b" " * 40, "lists other storages"),
        *((None, keep, CUT) for keep in (40, 150, 300, 380)),
    ],
)
def test_old_streams_that_do_not_fit_are_refused(old, new, said, tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(10)}, legacy=True)
    whole = path.read_bytes()
    path.write_bytes(new.join(whole.rsplit(old, 1)) if old else whole[:new])
    assert path.read_bytes() != whole
    with pytest.raises(CheckpointRefused, match=said):
        load(path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "said"),
    [
        ((3, 4), (4, 1), 0, None),
        ((3, 4), (4, 1), 1, "storage holds 12"),
        ((3, 5), (5, 1), 0, "storage holds 12"),
        ((3, 4), (0, 0), 0, None),
        ((1 << 40, 1 << 40), (0, 0), 0, "storage holds 12"),
        ((3,), (1, 1), 0, "1 sizes and 2 strides"),
        ((1,) * 9, (1,) * 9, 0, "9 sizes"),
        ((-3,), (1,), 0, "negative"),
        ((3,), (-1,), 2, "negative"),
        ((3,), (1,), -1, "negative"),
        ((0, 1 << 62), (1, 1), 0, "is empty"),
    ],
)
def test_views_are_checked_against_their_storage(shape, strides, offset, said, tmp_path):
    values = np.arange(12, dtype=np.float32)
    (tmp_path / "values").write_bytes(values.tobytes())
    with ByteSource(tmp_path / "values") as source:
        stored = StoredTensor(Span(source, 0, 48), torch.float32, shape, strides, offset)
        if said is None:
            stored.check("it")
            expected = torch.as_strided(torch.from_numpy(values), shape, strides)
            assert torch.equal(stored.read(), expected)
        else:
            with pytest.raises(CheckpointRefused, match=said):
                stored.check("it")


# ---------------------------------------------------------------------------- the zip directory

MEMBERS = {"a/data.pkl": b"x" * 100, "a/data/0": b"", "a/data/1": bytes(range(256)) * 5}
END, ENTRY = b"PK\x05\x06", b"PK\x01\x02"


def _changed(start, at, value, count=1):
    """The archive with numbers ``at`` a place after the record that begins so."""
    data = bytearray(_zip(MEMBERS))
    struct.pack_into(f"<{count}I", data, data.index(start) + at, *[value] * count)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_zip(MEMBERS), None),
        (_changed(END, 12, 0xFFFFFFF0), "damaged zip archive"),  # size of the directory
        (_changed(END, 16, 0xFFFFFFF0), "damaged zip archive|ends early"),  # its place
        (_changed(ENTRY, 0, 0), "damaged zip archive"),
        (_changed(ENTRY, 20, 7), "compressed member"),
        (_changed(ENTRY, 20, 0xFFFFFF00, 2), "ends early: 4294967040 bytes"),  # both sizes
        (_changed(ENTRY, 42, 50), "not where it is announced"),
        (_changed(ENTRY, 42, 0xFFFFFF00), "announced at 4294967040"),
        (_zip(MEMBERS)[:-30], "damaged zip archive"),
        (_zip({"a/data.pkl": bytes(9999)}, zipfile.ZIP_DEFLATED), "compressed member 'a/data.pkl'"),
        (_zip({"a/0": b"1", "a/1": b"2"}).replace(b"a/1", b"a/0"), "'a/0' is not where .* or twic"),
        (_zip({f"a/{k:05d}{'x' * 60_000}": b"" for k in range(90)}), r"directory takes \d+ bytes"),
    ],
)
def test_directories_that_lie_are_refused(data, said, tmp_path):
    (tmp_path / "z").write_bytes(data)
    with ByteSource(tmp_path / "z") as source:
        if said is None:
            members = read_members(source.whole)
            assert {name: span.read() for name, span in members.items()} == MEMBERS
        else:
            with pytest.raises(CheckpointRefused, match=said):
                read_members(source.whole)
