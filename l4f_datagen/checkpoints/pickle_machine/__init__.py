"""Reads pickles without Python's unpickler: builds plain data, runs nothing, copies no weights.

Why not ``pickle.Unpickler`` with an allow-list in ``find_class``, or ``torch.load``:

- **Memory.** Nine bytes (a memo index of 2**28) make the C unpickler take 4 GiB, before
  ``find_class`` is asked anything; the Python one takes what a bytearray announces. Here every
  length is compared with the bytes that are left in the file first, and operations, text and
  integers are counted against a budget that a file shares with the pickles nested in it.
- **Time.** 20,000 integers with one hash value as keys keep both of Python's unpicklers busy for
  about ten seconds. Here keys are text or small numbers.
- **Weights.** NVIDIA's files hold every tensor three times (G, D and G_ema) as byte strings inside
  the pickle. Python's unpicklers copy all of them. Here a byte string is a span of the file
  (``source.Span``), and only the tensors of the network that is asked for are read: the peak is
  the size of that network.
- **Foreign classes.** ``torch.load(weights_only=True)`` neither opens NVIDIA's pickles nor whole
  modules (``torch.save(G)``), and torch files nested in a pickle need the same restricted reader.

Nothing is imported and nothing is called but the stand-ins of the caller's table
(``checkpoints.stand_ins``), which build records and descriptions of tensors. Any other global is
refused by its name, and no option changes that.
"""

import struct
from collections.abc import Callable
from typing import Any

from l4f_datagen.checkpoints.byte_source import MAX_LINE, Cursor
from l4f_datagen.checkpoints.pickle_machine.machine import (
    MAX_INT_BYTES,
    UNSAFE,
    Budget,
    Globals,
    Machine,
)
from l4f_datagen.core.errors import CheckpointRefused

STOP = ord(".")
Operation = Callable[[Machine], object]


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args)


def _new_with_keywords(m: Machine) -> None:
    if m.stack.pop() != {}:
        raise TypeError("keyword arguments of a new object")
    _reduce(m)


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("a global whose name is no text")
    m.stack.append(m.find(module, name))


def _line_global(m: Machine) -> object:
    return m.find(m.cursor.line(), m.cursor.line())


def _instance(m: Machine) -> None:
    standin = _line_global(m)
    m.stack.append(m.call(standin, tuple(m.since_mark())))


def _line_integer(m: Machine) -> None:
    text = m.cursor.line().removesuffix("L")
    if len(text) > 2 * MAX_INT_BYTES:
        raise ValueError("integer too long")
    m.stack.append({"00": False, "01": True}[text] if text in ("00", "01") else int(text))


def _dict_of(m: Machine) -> None:
    items = m.since_mark()
    made: dict[Any, Any] = {}
    m.store(made, items)
    m.stack.append(made)


def _tuple_of(count: int) -> Operation:
    def operation(m: Machine) -> None:
        if len(m.stack) < count:
            raise IndexError("empty stack")
        items = tuple(m.stack[len(m.stack) - count :])
        del m.stack[len(m.stack) - count :]
        m.stack.append(items)

    return operation


def _latin1(m: Machine, length: int) -> None:
    # A byte string of Python 2: short ones are names, long ones are array data.
    if length > MAX_LINE:
        m.stack.append(m.cursor.skip(length))
    else:
        m.stack.append(m.cursor.take(length).decode("latin-1"))


def _setitem(m: Machine) -> None:
    items = m.stack[-2:]
    del m.stack[-2:]
    m.store(m.stack[-1], items)


def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.extend(m.stack[-1], [item])


def _many(method: Callable[[Machine, object, list[Any]], None]) -> Operation:
    def operation(m: Machine) -> None:
        items = m.since_mark()
        method(m, m.stack[-1], items)

    return operation


def _refused(what: str) -> Operation:
    def operation(m: Machine) -> None:
        raise m.cursor.source.refuse(f"is a pickle with {what}", UNSAFE)

    return operation


def _push(value: Callable[[], object]) -> Operation:
    return lambda m: m.stack.append(value())


OPERATIONS: dict[int, Operation] = {
    0x80: lambda m: m.cursor.take(1),  # protocol: the operations themselves are what counts
    0x95: lambda m: m.cursor.take(8),  # frame: only a hint for reading ahead
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): _push(lambda: None),
    0x88: _push(lambda: True),
    0x89: _push(lambda: False),
    ord("K"): lambda m: m.stack.append(m.unsigned(1)),
    ord("M"): lambda m: m.stack.append(m.unsigned(2)),
    ord("J"): lambda m: m.integer(4),
    0x8A: lambda m: m.integer(m.unsigned(1)),
    0x8B: lambda m: m.integer(m.unsigned(4)),
    ord("I"): _line_integer,
    ord("L"): _line_integer,
    ord("F"): lambda m: m.stack.append(float(m.cursor.line())),
    ord("G"): lambda m: m.stack.append(struct.unpack(">d", m.cursor.take(8))[0]),
    0x8C: lambda m: m.text(m.unsigned(1)),
    ord("X"): lambda m: m.text(m.unsigned(4)),
    0x8D: lambda m: m.text(m.unsigned(8)),
    ord("U"): lambda m: _latin1(m, m.unsigned(1)),
    ord("T"): lambda m: _latin1(m, m.unsigned(4)),
    ord("C"): lambda m: m.stack.append(m.cursor.skip(m.unsigned(1))),
    ord("B"): lambda m: m.stack.append(m.cursor.skip(m.unsigned(4))),
    0x8E: lambda m: m.stack.append(m.cursor.skip(m.unsigned(8))),
    0x96: lambda m: m.stack.append(m.cursor.skip(m.unsigned(8))),
    ord("]"): _push(list),
    ord("}"): _push(dict),
    ord(")"): _push(tuple),
    0x8F: _push(list),
    ord("l"): lambda m: m.stack.append(m.since_mark()),
    ord("d"): _dict_of,
    ord("t"): lambda m: m.stack.append(tuple(m.since_mark())),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    0x91: lambda m: m.stack.append(m.since_mark()),
    ord("a"): _append,
    ord("e"): _many(Machine.extend),
    0x90: _many(Machine.extend),
    ord("s"): _setitem,
    ord("u"): _many(Machine.store),
    ord("c"): lambda m: m.stack.append(_line_global(m)),
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,
    0x92: _new_with_keywords,
    ord("b"): Machine.build,
    ord("i"): _instance,
    ord("o"): _refused("objects of Python 2"),
    0x82: _refused("registered extensions"),
    0x83: _refused("registered extensions"),
    0x84: _refused("registered extensions"),
    0x97: _refused("data outside the file"),
    ord("P"): lambda m: m.persist(m.cursor.line()),
    ord("Q"): lambda m: m.persist(m.stack.pop()),
    ord("p"): lambda m: m.remember(int(m.cursor.line())),
    ord("q"): lambda m: m.remember(m.unsigned(1)),
    ord("r"): lambda m: m.remember(m.unsigned(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.stack.append(m.memo[int(m.cursor.line())]),
    ord("h"): lambda m: m.stack.append(m.memo[m.unsigned(1)]),
    ord("j"): lambda m: m.stack.append(m.memo[m.unsigned(4)]),
}


def load_pickle(
    cursor: Cursor,
    find: Globals,
    budget: Budget,
    persistent: Callable[[object], object] | None = None,
) -> object:
    """Return the object of the pickle at the cursor, which is left behind it.

    ``find`` gives the stand-in or value of a global by module and name, None where it is refused.
    ``persistent`` answers persistent ids (torch's storages); None refuses them.

    Raises:
        CheckpointRefused: damaged, too large for its budget, or naming a global outside the table.
    """
    machine = Machine(cursor, find, budget, persistent)
    try:
        while True:
            budget.spend()
            code = cursor.take(1)[0]
            if code == STOP:
                return machine.stack.pop()
            if code not in OPERATIONS:
                raise ValueError(f"unknown operation {code:#x}")
            OPERATIONS[code](machine)
    except CheckpointRefused:
        raise
    except KeyError:
        problem = "something is used that was never stored"
    except (IndexError, ValueError, TypeError, OverflowError, struct.error) as error:
        problem = str(error)
    raise cursor.source.refuse(f"is no valid pickle near byte {cursor.position} ({problem})")
