"""The safetensors header: what the library writes, and headers that lie."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from l4f_datagen.checkpoints.safetensors import is_safetensors, read_header, write_safetensors
from l4f_datagen.checkpoints.storage import ByteSource
from l4f_datagen.core.errors import CheckpointRefused

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {str(dtype): torch.randn(3, 5).to(dtype) for dtype in DTYPES}
    return {**tensors, "number": torch.tensor(1.5), "odd": torch.randn(3).half()}


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_file(_tensors(), path, metadata={"a": "b"})
    with ByteSource(path) as source:
        assert is_safetensors(source)
        metadata, stored = read_header(source)
        assert metadata == {"a": "b"}
        for name, tensor in _tensors().items():
            stored[name].check(name)
            assert torch.equal(stored[name].read(), tensor.float())


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_safetensors(path, _tensors(), {"b": "2", "a": "1"})
    loaded = load_file(path)
    assert set(loaded) == set(_tensors())
    for name, tensor in _tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def _write(path: Path, header: Any, values: bytes = b"\0" * 12, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + values)
    return path


def _entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **changes}}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (_entry(data_offsets=[0, 1200]), "1200 bytes for the shape"),
        (_entry(data_offsets=[0, 1200], shape=[300]), "beyond its end"),
        (_entry(data_offsets=[12, 0]), "-12 bytes for"),
        (_entry(data_offsets=[-12, 0]), "no whole number"),
        (_entry(data_offsets=[0]), "not enough values"),
        (_entry(shape=[-3]), "no whole number"),
        (_entry(shape=[1.5]), "no whole number"),
        (_entry(shape=[True]), "no whole number"),
        (_entry(shape=[1 << 40, 1 << 40]), "bytes for the shape"),
        (_entry(shape=[1 << 60]), "none of a file"),
        (_entry(shape=[1] * 9), "9 sizes"),
        (_entry(shape=3), "cannot be read"),
        (_entry(dtype="F4"), "cannot be read"),
        ({"a": 3}, "cannot be read"),
        ({"__metadata__": {"a": 1}}, "metadata that is no text"),
        ({"__metadata__": 3}, "cannot be read"),
        (b'{"a": 1, "a": 2}', "a name that occurs twice"),
        (b"{" + b" " * 20, "cannot be read"),
        (b"{\xff\xff}", "cannot be read"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read"),
        (b"{" + b'"a":' + b"9" * 10_000 + b"}", "cannot be read"),
    ],
)
def test_headers_that_lie_are_refused(header: Any, said: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x", header)
    with ByteSource(path) as source, pytest.raises(CheckpointRefused, match=said):
        read_header(source)


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "x", _entry(), length=1 << 40)
    with ByteSource(path) as source:
        assert not is_safetensors(source)
        with pytest.raises(CheckpointRefused, match="announces a header of"):
            read_header(source)


def test_short_files_are_no_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x02\0\0\0\0\0\0\0{")
    with ByteSource(path) as source:
        assert not is_safetensors(source)
