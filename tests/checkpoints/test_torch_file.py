"""Files of torch.save, zip and older streams, against torch.load."""

import argparse
import io
import struct
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from l4f_datagen.checkpoints.byte_source import ByteSource, Span
from l4f_datagen.checkpoints.containers import load_torch, read_members
from l4f_datagen.checkpoints.pickle_machine import Budget
from l4f_datagen.checkpoints.stand_ins import Record
from l4f_datagen.checkpoints.tensors import StoredTensor
from l4f_datagen.core.errors import CheckpointRefused


@pytest.fixture
def load():
    """Open torch files that stay readable until the test ends."""
    with ExitStack() as stack:

        def load_one(path):
            source = stack.enter_context(ByteSource(path))
            return load_torch(Span(source, 0, source.size), Budget())

        yield load_one


def _views():
    torch.manual_seed(0)
    base = torch.randn(4, 6, 5, 3)
    return {
        "whole": base,
        "part": base[1:3, 2],
        "transposed": base.transpose(0, 3),
        "steps": base.flatten()[3::7],
        "channels_last": base.to(memory_format=torch.channels_last),
        "number": torch.tensor(2.5),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "parameter": torch.nn.Parameter(base[0]),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_those_of_torch_load(legacy, tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", _views(), legacy=legacy)
    expected = torch.load(path, weights_only=True)
    loaded = load(path)
    assert list(loaded) == list(expected)
    for name, tensor in loaded.items():
        tensor.check(name)
        read = tensor.read()
        assert read.is_contiguous()
        assert read.dtype == torch.float32
        assert torch.equal(read, expected[name].float()), name


@pytest.mark.parametrize("legacy", [False, True])
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
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(1000)})
    loaded = load(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<f", 1.0), struct.pack("<f", 2.0)))
    assert float(loaded["a"].read().sum()) == 2000


def _replaced(path, name, data):
    """Replace (or with None leave out) one member of a torch archive."""
    with zipfile.ZipFile(path) as archive:
        members = {item: archive.read(item) for item in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    members.pop(f"{root}/{name}", None)
    if data is not None:
        members[f"{root}/{name}"] = data
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for item, content in members.items():
            archive.writestr(item, content)
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("data/0", None, "lacks the storage '0'"),
        ("data/0", b"1234", "holds 4 bytes for 10 values"),
        ("data.pkl", None, "without torch weights"),
        ("constants.pkl", b"", "TorchScript"),
        ("byteorder", b"big", "big-endian"),
        ("byteorder", b"b" * 100, "big-endian"),
    ],
)
def test_archives_that_do_not_fit_are_refused(name, data, said, tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(10)})
    _replaced(path, name, data)
    with pytest.raises(CheckpointRefused, match=said):
        load(path)


def _with(old, new):
    return lambda data: data.replace(old, new, 1)


def _other_storages(data):
    return data[: data.rindex(b"\x80\x02]")] + b"\x80\x02]." + data[-48:]


CUT = r"ends early|without an end|no valid pickle"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # How many values the one storage has, before its 40 bytes at the end.
        (_with((10).to_bytes(8, "little"), (11).to_bytes(8, "little")), "stores another length"),
        (_with(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
        (_with(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xe8\x03."), "unknown version"),
        (_other_storages, "lists other storages"),
        *((lambda data, keep=keep: data[:keep], CUT) for keep in (40, 150, 300, 380)),
    ],
)
def test_old_streams_that_do_not_fit_are_refused(change, said, tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(10)}, legacy=True)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
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


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, load, foreign):
    path = foreign.write_torch(tmp_path / "t", {"a": torch.ones(100_000)})
    loaded = load(path)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointRefused, match="ends after"):
        loaded["a"].read()


# ---------------------------------------------------------------------------- the zip directory

MEMBERS = {"a/data.pkl": b"x" * 100, "a/data/0": b"", "a/data/1": bytes(range(256)) * 5}


def _zip(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _members(data, path):
    path.write_bytes(data)
    with ByteSource(path) as source:
        members = read_members(Span(source, 0, source.size))
        return {name: span.read() for name, span in members.items()}


def test_members_come_back(tmp_path):
    assert _members(_zip(MEMBERS), tmp_path / "z") == MEMBERS


def _changed(field, value):
    data = bytearray(_zip(MEMBERS))
    end, entry = data.rindex(b"PK\x05\x06"), data.index(b"PK\x01\x02")
    places = {
        "directory size": end + 12,
        "directory offset": end + 16,
        "signature": entry,
        "packed": entry + 20,
        "size": entry + 24,
        "offset": entry + 42,
    }
    struct.pack_into("<I", data, places[field], value)
    if field == "size":
        struct.pack_into("<I", data, places["packed"], value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_changed("directory size", 0xFFFFFFF0), "damaged zip archive"),
        (_changed("directory offset", 0xFFFFFFF0), "damaged zip archive|ends early"),
        (_changed("signature", 0), "damaged zip archive"),
        (_changed("packed", 7), "compressed member"),
        (_changed("size", 0xFFFFFF00), "ends early: 4294967040 bytes"),
        (_changed("offset", 50), "not where it is announced"),
        (_changed("offset", 0xFFFFFF00), "announced at 4294967040"),
        (_zip(MEMBERS)[:-30], "damaged zip archive"),
        (_zip({"a/data.pkl": bytes(9999)}, zipfile.ZIP_DEFLATED), "compressed member 'a/data.pkl'"),
        (_zip({"a/0": b"1", "a/1": b"2"}).replace(b"a/1", b"a/0"), "'a/0' is not where .* or twic"),
        (_zip({f"a/{k:05d}{'x' * 60_000}": b"" for k in range(90)}), r"directory takes \d+ bytes"),
    ],
)
def test_directories_that_lie_are_refused(data, said, tmp_path):
    with pytest.raises(CheckpointRefused, match=said):
        _members(data, tmp_path / "z")
