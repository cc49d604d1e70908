"""NumPy arrays, scalars and dtypes in pickles, against NumPy itself."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l4f_datagen.checkpoints.pickle_machine import load_pickle
from l4f_datagen.checkpoints.pickle_machine.machine import Budget
from l4f_datagen.checkpoints.pickle_machine.source import ByteSource, Cursor, Span
from l4f_datagen.checkpoints.stand_ins import ArrayRecord, find_global
from l4f_datagen.checkpoints.tensors import StoredTensor
from l4f_datagen.core.errors import CheckpointRefused


def _load(value: Any, path: Path, protocol: int = 4, rename: bool = False) -> Any:
    data = pickle.dumps(value, protocol=protocol)
    if rename:  # the module's name in NumPy 1
        data = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        data = data[:3] + (len(data) - 11).to_bytes(8, "little") + data[11:]
    path.write_bytes(data)
    with ByteSource(path) as source:
        loaded = load_pickle(Cursor(Span(source, 0, source.size)), find_global, Budget())
        if isinstance(loaded, ArrayRecord):
            loaded = loaded.tensor
        if isinstance(loaded, StoredTensor):
            loaded.check("it")
            return loaded.read().numpy()
        return loaded


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(protocol: int, dtype: str, order: Any, tmp_path: Path) -> None:
    array = np.random.RandomState(0).randn(3, 4, 2).astype(dtype, order=order)
    read = _load(array, tmp_path / "a", protocol)
    assert read.dtype == np.float32
    assert np.array_equal(read, array.astype(np.float32))


def test_arrays_of_numpy_1_come_back(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(_load(array, tmp_path / "a", rename=True), array)


def test_arrays_without_axes(tmp_path: Path) -> None:
    assert _load(np.array(1.5, np.float32), tmp_path / "a") == 1.5


@pytest.mark.parametrize(
    "value",
    [
        np.float16(1.5),
        np.float32(-2.5),
        np.float64(1e300),
        np.int8(-3),
        np.int16(-300),
        np.int32(7),
        np.int64(-(2**40)),
        np.uint8(200),
        np.uint16(60000),
        np.uint32(2**31),
        np.uint64(2**63),
        np.bool_(True),
    ],
)
def test_scalars_come_back(value: Any, tmp_path: Path) -> None:
    assert _load(value, tmp_path / "a") == value.item()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([1, "a", None], dtype=object), "'O8' are no weights"),
        (np.array(["text"]), "are no weights"),
        (np.zeros(2, dtype=[("a", "f4")]), "are no weights"),
        (np.zeros(2, dtype=">f4"), "not little endian"),
        (np.zeros(2, dtype="complex64"), "are no weights"),
        (np.datetime64("2020-01-01"), "are no weights"),
    ],
)
def test_other_arrays_are_refused(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused, match=said):
        _load(value, tmp_path / "a")


def test_shape_and_bytes_must_agree(tmp_path: Path) -> None:
    data = pickle.dumps(np.zeros(3, np.float32), protocol=4)
    wide = data.replace(b"K\x01K\x03\x85", b"K\x01K\x09\x85")
    assert wide != data
    path = tmp_path / "a"
    path.write_bytes(wide)
    with ByteSource(path) as source, pytest.raises(CheckpointRefused, match="needs 36 bytes, 12"):
        load_pickle(Cursor(Span(source, 0, source.size)), find_global, Budget())


def test_integers_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused, match="it is int64, expected floating point"):
        _load(np.arange(3), tmp_path / "a")
