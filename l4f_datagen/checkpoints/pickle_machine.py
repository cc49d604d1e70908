"""Reads pickles without Python's unpickler: builds plain data, runs nothing, copies no weights.

Why not ``pickle.Unpickler`` with an allow-list in ``find_class``, or ``torch.load``:

- **Memory.** Nine bytes (a memo index of 2**28) make the C unpickler take 4 GiB, before
  ``find_class`` is asked anything; the Python one takes what a bytearray announces. Here every
  length is compared with the bytes that are left in the file first, and operations, text and
  integers are counted against a budget that a file shares with the pickles nested in it.
- **Time.** 20,000 integers with one hash value as keys keep both of Python's unpicklers busy for
  about ten seconds. Here keys are text or small numbers.
- **Weights.** NVIDIA's files hold every tensor three times (G, D and G_ema) as byte strings, all
  copied by Python's unpicklers. Here a byte string is a span of the file, and only the tensors of
  the network that is asked for are read: the peak is the size of that network.
- **Foreign classes.** ``torch.load(weights_only=True)`` neither opens NVIDIA's pickles nor whole
  modules (``torch.save(G)``), and torch files nested in a pickle need the same restricted reader.

Nothing is imported and nothing is called but the stand-ins of the caller's table (``stand_ins``),
which build records and descriptions of tensors. Any other global is refused by its name, and no
option changes that.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from l4f_datagen.core.errors import CheckpointRefused

from .byte_source import MAX_LINE, Cursor, Span
from .stand_ins import Globals, Record, StandIn, is_plain_key

# A 1024 px snapshot of NVIDIA's code takes 60,000 operations and 1 MB of text (its source code);
# these limits leave room for ten times that, and stop a bomb within two seconds.
MAX_OPERATIONS = 400_000
MAX_TEXT_BYTES = 1 << 26
# No size, seed or version number is longer; Python multiplies long integers in quadratic time.
MAX_INT_BYTES = 32
MAX_MEMO_INDEX = 1 << 32  # stored as 32 bits

UNSAFE = "do not open it with other tools, it may run code; get plain weights from their author"
WEIGHTS_ALONE = "save the weights alone: torch.save(network.state_dict(), FILE)"
# Modules whose functions hostile pickles call; other unknown names are refused without alarm.
DANGEROUS = re.compile(
    r"(os|posix|nt|subprocess|sys|builtins|__builtin__|shutil|socket|importlib|runpy|ctypes|code"
    r"|codeop|webbrowser|pty|pickle|_pickle|marshal|operator|commands|multiprocessing|timeit|pdb"
    r"|bdb|cProfile|profile|doctest|pip)(\..*)?"
)
PLAIN_TYPES = re.compile(r"object|complex|range|slice|bytearray|bytes|frozenset|set|list|tuple")


@dataclass
class Budget:
    """What one file may cost, shared by the pickles nested in it."""

    operations: int = MAX_OPERATIONS
    text_bytes: int = MAX_TEXT_BYTES

    def spend(self, operations: int = 1, text_bytes: int = 0) -> None:
        """Count work; ValueError where it is more than any checkpoint needs."""
        self.operations -= operations
        self.text_bytes -= text_bytes
        if self.operations < 0:
            raise ValueError(f"more than {MAX_OPERATIONS} operations")
        if self.text_bytes < 0:
            raise ValueError(f"more than {MAX_TEXT_BYTES} bytes of text")


@dataclass
class _Machine:
    """Stack, marks and memo of one pickle, and what its operations may do to them."""

    cursor: Cursor
    table: Globals
    budget: Budget
    persistent: Callable[[object], object] | None
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def bytes(self, length: int) -> None:
        self.push(self.cursor.skip(length))

    def recall(self, index: int) -> None:
        self.push(self.memo[index])

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("empty stack")
        self.marks.append(len(self.stack) - count)
        return self.since_mark()

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def find(self, module: object, name: object) -> object:
        """Return the stand-in of a global, or refuse the file by the global's name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global whose name is no text")
        if len(module) + len(name) > MAX_LINE:  # a stand-in keeps it, each time it is mentioned
            raise ValueError("a global whose name is too long")
        if (found := self.table(module, name)) is not None:
            return found
        dotted = f"{module}.{name}"[:100]
        if DANGEROUS.fullmatch(module) and not PLAIN_TYPES.fullmatch(name):
            problem = f"asks for {dotted!r}, which no StyleGAN2 weights need"
            raise self.cursor.source.refuse(problem, UNSAFE)
        problem = f"holds {dotted!r}, which is not among the classes of StyleGAN2 weights"
        raise self.cursor.source.refuse(problem, WEIGHTS_ALONE)

    def line_global(self) -> object:
        return self.find(self.cursor.line(), self.cursor.line())

    def call(self, function: object, args: object) -> object:
        """Build what a stand-in makes of ``args``; walking a long one again costs again."""
        if not isinstance(function, StandIn) or not isinstance(args, tuple):
            raise TypeError("a call of something that is no known global")
        lengths = [len(arg) for arg in args if isinstance(arg, list | tuple | dict)]
        texts = [len(arg) for arg in args if isinstance(arg, str)]
        self.budget.spend(1 + sum(lengths), sum(texts))
        made = self._made(function.name, function.build, *args)
        # Byte strings are spans everywhere.
        return Span(self.cursor.source, 0, len(made), made) if isinstance(made, bytes) else made

    def _made(self, name: str, build: Callable[..., object], *args: object) -> object:
        try:
            return build(*args)
        except (TypeError, ValueError) as error:
            problem = f"holds a {name} that cannot be read ({error})"
            raise self.cursor.source.refuse(problem) from None

    def reduce(self) -> None:
        function, args = self.pop(2)
        self.push(self.call(function, args))

    def reduce_with_keywords(self) -> None:
        if self.stack.pop() != {}:
            raise TypeError("keyword arguments of a new object")
        self.reduce()

    def build(self) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if isinstance(target, Record):
            self._made(target.name, target.set_state, state)
        elif not isinstance(target, dict):  # attributes of a dict (torch's _metadata): not needed
            raise TypeError("state set on something that is no object")

    def integer(self, length: int) -> None:
        if length > MAX_INT_BYTES:
            raise ValueError("integer too long")
        self.push(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def line_integer(self) -> None:
        text = self.cursor.line().removesuffix("L")
        if len(text) > 2 * MAX_INT_BYTES:
            raise ValueError("integer too long")
        self.push({"00": False, "01": True}[text] if text in ("00", "01") else int(text))

    def text(self, length: int) -> None:
        self.budget.spend(text_bytes=length)
        self.push(self.cursor.take(length).decode("utf-8", "surrogatepass"))

    def latin1(self, length: int) -> None:
        # A byte string of Python 2: short ones are names, long ones are array data.
        cursor = self.cursor
        short = length <= MAX_LINE
        self.push(cursor.take(length).decode("latin-1") if short else cursor.skip(length))

    def store(self, items: list[Any]) -> None:
        """Put key, value, key, value ... into a dict. Keys are plain and cheap to hash."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("items set on something that is no dict")
        if not all(map(is_plain_key, items[::2])):
            raise TypeError("a dict key that is neither text nor number")
        target.update(zip(items[::2], items[1::2], strict=True))

    def new_dict(self) -> None:
        items = self.since_mark()
        self.push({})
        self.store(items)

    def extend(self, items: list[Any]) -> None:
        """Append to a list; sets are kept as lists, so that nothing is hashed."""
        if not isinstance(self.stack[-1], list):
            raise TypeError("items appended to something that is no list")
        self.stack[-1].extend(items)

    def remember(self, index: int) -> None:
        if not 0 <= index < MAX_MEMO_INDEX:
            raise ValueError("a memo index out of range")
        self.memo[index] = self.stack[-1]

    def persist(self, identity: object) -> None:
        if self.persistent is None:
            raise TypeError("persistent id outside a torch file")
        self.push(self.persistent(identity))


OPERATIONS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.cursor.take(1),  # protocol: the operations themselves are what counts
    0x95: lambda m: m.cursor.take(8),  # frame: only a hint for reading ahead
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.pop(1),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.integer(4),
    ord("I"): _Machine.line_integer,
    ord("L"): _Machine.line_integer,
    ord("F"): lambda m: m.push(float(m.cursor.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.cursor.take(8))[0]),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    0x8F: lambda m: m.push([]),  # a set
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("d"): _Machine.new_dict,
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.push(tuple(m.pop(1))),
    0x86: lambda m: m.push(tuple(m.pop(2))),
    0x87: lambda m: m.push(tuple(m.pop(3))),
    0x91: lambda m: m.push(m.since_mark()),  # a frozenset
    ord("a"): lambda m: m.extend(m.pop(1)),
    ord("e"): lambda m: m.extend(m.since_mark()),
    0x90: lambda m: m.extend(m.since_mark()),
    ord("s"): lambda m: m.store(m.pop(2)),
    ord("u"): lambda m: m.store(m.since_mark()),
    ord("c"): lambda m: m.push(m.line_global()),
    0x93: lambda m: m.push(m.find(*m.pop(2))),
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,
    0x92: _Machine.reduce_with_keywords,
    ord("b"): _Machine.build,
    ord("i"): lambda m: m.push(m.call(m.line_global(), tuple(m.since_mark()))),
    ord("P"): lambda m: m.persist(m.cursor.line()),
    ord("Q"): lambda m: m.persist(m.stack.pop()),
    ord("p"): lambda m: m.remember(int(m.cursor.line())),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(int(m.cursor.line())),
}
# Operations that begin with a number, and the bytes that it takes.
SIZED: dict[Callable[[_Machine, int], None], dict[int, int]] = {
    _Machine.push: {ord("K"): 1, ord("M"): 2},
    _Machine.integer: {0x8A: 1, 0x8B: 4},
    _Machine.text: {0x8C: 1, ord("X"): 4, 0x8D: 8},
    _Machine.latin1: {ord("U"): 1, ord("T"): 4},
    _Machine.bytes: {ord("C"): 1, ord("B"): 4, 0x8E: 8, 0x96: 8},
    _Machine.remember: {ord("q"): 1, ord("r"): 4},
    _Machine.recall: {ord("h"): 1, ord("j"): 4},
}
REFUSED = dict.fromkeys((0x82, 0x83, 0x84), "registered extensions")
REFUSED |= {ord("o"): "objects of Python 2", 0x97: "data outside the file"}
WIDTHS = {code: (method, width) for method, codes in SIZED.items() for code, width in codes.items()}


def load_pickle(
    cursor: Cursor,
    table: Globals,
    budget: Budget,
    persistent: Callable[[object], object] | None = None,
) -> object:
    """Return the object of the pickle at the cursor, which is left behind it.

    ``table`` gives the stand-in or value of a global by module and name, None where it is refused;
    ``persistent`` answers persistent ids (torch's storages), None refuses them. CheckpointRefused:
    damaged, too large for its budget, or naming a global outside the table.
    """
    machine = _Machine(cursor, table, budget, persistent)
    try:
        while True:
            budget.spend()
            code = cursor.take(1)[0]
            if code == ord("."):
                return machine.stack.pop()
            if code in WIDTHS:
                method, width = WIDTHS[code]
                method(machine, int.from_bytes(cursor.take(width), "little"))
            elif code in OPERATIONS:
                OPERATIONS[code](machine)
            elif code in REFUSED:
                raise cursor.source.refuse(f"is a pickle with {REFUSED[code]}", UNSAFE)
            else:
                raise ValueError(f"unknown operation {code:#x}")
    except CheckpointRefused:
        raise
    except KeyError:
        problem = "something is used that was never stored"
    except (IndexError, ValueError, TypeError, OverflowError, struct.error) as error:
        problem = str(error)
    raise cursor.source.refuse(f"is no valid pickle near byte {cursor.position} ({problem})")
