"""The restricted unpickler: plain data that the standard library wrote comes back."""

import collections
import math
import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4f_datagen.checkpoints.byte_source import WINDOW, ByteSource, Cursor, Span
from l4f_datagen.checkpoints.pickle_machine import Budget, load_pickle
from l4f_datagen.checkpoints.stand_ins import ArrayRecord, Record, StandIn, find_global, show
from l4f_datagen.checkpoints.tensors import StoredTensor
from l4f_datagen.core.errors import CheckpointRefused

NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.booleans() | st.none()
KEYS = st.text(max_size=8) | st.integers(-(2**40), 2**40)
DATA = st.recursive(
    NUMBERS | st.text(max_size=40) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=25,
)


def _load(data, path, find=find_global):
    path.write_bytes(data)
    with ByteSource(path) as source:
        return _plain(load_pickle(Cursor(source.whole), find, Budget()))


def _plain(value):
    """Byte strings and arrays are places of the file; read them for the comparison."""
    if isinstance(value, ArrayRecord):
        value = value.tensor
    if isinstance(value, StoredTensor):
        value.check("it")
        return value.read().numpy()
    if isinstance(value, Span):
        return value.read()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value


@given(value=DATA, protocol=st.integers(3, 5))
@settings(deadline=None, max_examples=30)
def test_plain_data_comes_back(value, protocol, tmp_path_factory):
    data = pickle.dumps(value, protocol=protocol)
    assert _load(data, tmp_path_factory.getbasetemp() / "value") == value


SHARED = [1]
LARGE = {"text": "aé" * WINDOW, "bytes": os.urandom(3 * WINDOW), "numbers": list(range(3000))}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        *((pickle.dumps(LARGE, protocol), LARGE) for protocol in range(2, 6)),
        (pickle.dumps([SHARED, SHARED]), [[1], [1]]),
        (b"(I1\nI01\nI00\nL12L\nF1.5\nt.", (1, True, False, 12, 1.5)),
        (pickle.dumps([math.inf, -math.inf]), [math.inf, -math.inf]),
    ],
    ids=range(7),
)
def test_large_and_old_values_come_back(data, value, tmp_path):
    assert _load(data, tmp_path / "value") == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (os.system, "asks for 'posix.system'.*may run code"),
        (eval, "asks for 'builtins.eval'.*may run code"),
        (subprocess.Popen, "asks for 'subprocess.Popen'.*may run code"),
        (getattr, "asks for 'builtins.getattr'.*may run code"),
        (collections.Counter, "holds 'collections.Counter'.*save the weights alone"),
        (complex, "holds 'builtins.complex'.*save the weights alone"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_globals_outside_the_table_are_refused_by_name(value, said, protocol, tmp_path):
    data = pickle.dumps(value, protocol=protocol, fix_imports=False)
    with pytest.raises(CheckpointRefused, match=said):
        _load(data, tmp_path / "v")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04", "ends early"),
        (b"\x80\x04\x95\x00", "ends early"),
        (b"\x80\x04\xff.", "unknown operation 0xff"),
        (b"\x80\x04h\x07.", "never stored"),
        (b"\x80\x04]K\x01K\x02s.", "no dict"),
        (b"\x80\x04}K\x01a.", "no list"),
        (b"\x80\x04K\x01}b.", "no object"),
        (b"\x80\x04(K\x01d.", "no dict"),
        (b"\x80\x04K\x01)R.", "no known global"),
        (b"\x80\x04K\x01K\x02\x93.", "no text"),
        (b"\x80\x04ccollections", "without an end"),
        (b"\x80\x04}" + b"\x8a\x09" + b"\x7f" * 9 + b"Ns.", "dict key"),
        (b"\x80\x04\x8c\x02\xff\xfe.", "can't decode"),
        (b"\x80\x04.", "empty list"),
        (b"\x80\x04\x85.", "empty stack"),
        (b"F1.0.0\n.", "could not convert"),
        (b"\x80\x04Np99999999999999999999\n.", "memo index out of range"),
        (b"\x80\x04Np-1\n.", "memo index out of range"),
        (b"L" + b"9" * 100 + b"\n.", "integer too long"),
    ],
)
def test_damage_is_named(data, said, tmp_path):
    with pytest.raises(CheckpointRefused, match=said):
        _load(data, tmp_path / "v")


def test_new_objects_may_not_bring_keywords(tmp_path):
    def allowed(*_name):
        return StandIn("a.b", lambda *args: Record("a.b", args))

    good = b"\x80\x04\x8c\x01a\x8c\x01b\x93)}\x92."
    assert isinstance(_load(good, tmp_path / "v", allowed), Record)
    bad = b"\x80\x04\x8c\x01a\x8c\x01b\x93)}\x8c\x01kNs\x92."
    with pytest.raises(CheckpointRefused, match="keyword arguments"):
        _load(bad, tmp_path / "v", allowed)


def test_large_integers_are_no_keys_of_ordered_dicts_either(tmp_path):
    """Any number of them share one hash: a dict of a hundred thousand would take minutes."""
    pairs = [[k * (2**61 - 1) << 61, 0] for k in range(1, 4)]
    assert len({hash(key) for key, _ in pairs}) == 1
    call = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93"
    data = b"\x80\x04" + call + pickle.dumps(pairs, 3)[2:-1] + b"\x85R."
    with pytest.raises(CheckpointRefused, match="something else than pairs"):
        _load(data, tmp_path / "v")


def test_calls_with_the_same_long_argument_are_counted(tmp_path):
    """A list is cheap to mention again; walking it again is not."""
    pairs = [[k, k] for k in range(2_000)]
    again = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93h\x00\x85R" * 300
    data = b"\x80\x04" + pickle.dumps(pairs, 4)[11:-1] + again + b"."
    with pytest.raises(CheckpointRefused, match="operations"):
        _load(data, tmp_path / "v")


def test_show_never_walks_into_what_may_be_endless():
    endless, deep = [1], 1
    endless.append(endless)
    for _ in range(100_000):
        deep = (deep,)
    shown = [endless, deep, list(range(100)), "x" * 1000, Record("a"), [None, 1.5, True]]
    expected = ["[1, ...]", "[...]", "list", "x" * 60, "Record", "[None, 1.5, True]"]
    assert list(map(show, shown)) == expected


# -------------------------------------------------------------------- what NumPy puts into pickles


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(protocol, dtype, order, tmp_path):
    array = np.random.RandomState(0).randn(3, 4, 2).astype(dtype, order=order)
    read = _load(pickle.dumps(array, protocol), tmp_path / "a")
    assert read.dtype == np.float32
    assert np.array_equal(read, array.astype(np.float32))


def test_arrays_of_numpy_1_come_back(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = pickle.dumps(array, protocol=4)
    data = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    data = data[:3] + (len(data) - 11).to_bytes(8, "little") + data[11:]
    assert np.array_equal(_load(data, tmp_path / "a"), array)


@pytest.mark.parametrize(
    "value",
    [
        *(np.float16(1.5), np.float32(-2.5), np.float64(1e300), np.bool_(True)),
        np.array(1.5, np.float32),
        *(np.int8(-3), np.int16(-300), np.int32(7), np.int64(-(2**40))),
        *(np.uint8(200), np.uint16(60000), np.uint32(2**31), np.uint64(2**63)),
    ],
)
def test_scalars_come_back(value, tmp_path):
    assert _load(pickle.dumps(value), tmp_path / "a") == value.item()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([1, "a", None], dtype=object), "'O8' are no weights"),
        (np.array(["text"]), "are no weights"),
        (np.zeros(2, dtype=[("a", "f4")]), "are no weights"),
        (np.zeros(2, dtype=">f4"), "not little endian"),
        (np.zeros(2, dtype="complex64"), "are no weights"),
        (np.datetime64("2020-01-01"), "are no weights"),
        (np.zeros(3, np.float32), "needs 36 bytes, 12"),
        (np.arange(4), "it is int64, expected floating point"),
    ],
)
def test_other_arrays_are_refused(value, said, tmp_path):
    data = pickle.dumps(value, protocol=4).replace(b"K\x01K\x03\x85", b"K\x01K\x09\x85")
    with pytest.raises(CheckpointRefused, match=said):
        _load(data, tmp_path / "a")
