"""The state of the restricted unpickler, and what its operations may do to it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from l4f_datagen.checkpoints.byte_source import Cursor, Span

# A 1024 px snapshot of NVIDIA's code takes 60,000 operations and 1 MB of text (its source code);
# these limits leave room for ten times that, and stop a bomb within two seconds.
MAX_OPERATIONS = 400_000
MAX_TEXT_BYTES = 1 << 26
# No size, seed or version number is longer; Python multiplies long integers in quadratic time.
MAX_INT_BYTES = 32
# Any number of longer integers can be made with one and the same hash.
MAX_KEY_BITS = 64
# Memo indices are stored as 32 bits.
MAX_MEMO_INDEX = 1 << 32
# What a message shows of a foreign value.
MAX_SHOWN = 8
MAX_TEXT_SHOWN = 60

UNSAFE = "do not open it with other tools, it may run code; get plain weights from their author"
WEIGHTS_ALONE = "save the weights alone: torch.save(network.state_dict(), FILE)"
# Modules whose functions hostile pickles call; other unknown names are refused without alarm.
DANGEROUS = re.compile(
    r"(os|posix|nt|subprocess|sys|builtins|__builtin__|shutil|socket|importlib|runpy|ctypes|code"
    r"|codeop|webbrowser|pty|pickle|_pickle|marshal|operator|commands|multiprocessing|timeit|pdb"
    r"|bdb|cProfile|profile|doctest|pip)(\..*)?"
)
PLAIN_TYPES = re.compile(r"object|complex|range|slice|bytearray|bytes|frozenset|set|list|tuple")


@dataclass(frozen=True)
class StandIn:
    """What the machine calls in place of the global of this dotted name."""

    name: str
    build: Callable[..., object]


def is_plain_key(key: object) -> bool:
    """Whether a value may be the key of a dict: text, None or a number of ordinary size."""
    if isinstance(key, int):
        return key.bit_length() <= MAX_KEY_BITS
    return key is None or isinstance(key, str | float)


def show(value: object) -> str:
    """Return a short text for a value of a file; never walks into what may be deep or endless."""
    if isinstance(value, tuple | list) and len(value) <= MAX_SHOWN:
        items = ["..." if isinstance(item, tuple | list) else show(item) for item in value]
        return f"[{', '.join(items)}]"
    if value is None or isinstance(value, str | int | float):
        return str(value)[:MAX_TEXT_SHOWN]
    return type(value).__name__


Globals = Callable[[str, str], object | None]


class Record:
    """An instance of a foreign class: its name, its arguments and its state, and no behaviour."""

    def __init__(self, name: str, args: tuple[object, ...] = ()) -> None:
        self.name, self.args = name, args
        self.state: object = None

    def set_state(self, state: object) -> None:
        """Keep what the file sets on the instance."""
        self.state = state


class Budget:
    """What one file may cost, shared by the pickles nested in it."""

    def __init__(self) -> None:
        self.operations = MAX_OPERATIONS
        self.text_bytes = MAX_TEXT_BYTES

    def spend(self, operations: int = 1, text_bytes: int = 0) -> None:
        """Count work; ValueError where it is more than any checkpoint needs."""
        self.operations -= operations
        self.text_bytes -= text_bytes
        if self.operations < 0:
            raise ValueError(f"more than {MAX_OPERATIONS} operations")
        if self.text_bytes < 0:
            raise ValueError(f"more than {MAX_TEXT_BYTES} bytes of text")


class Machine:
    """Stack, marks and memo of one pickle; arguments as in ``load_pickle``."""

    def __init__(
        self,
        cursor: Cursor,
        find: Globals,
        budget: Budget,
        persistent: Callable[[object], object] | None = None,
    ) -> None:
        self.cursor, self._find, self.budget = cursor, find, budget
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def find(self, module: str, name: str) -> object:
        """Return the stand-in of a global, or refuse the file by the global's name."""
        found = self._find(module, name)
        if found is not None:
            return found
        dotted = f"{module}.{name}"[:100]
        if not DANGEROUS.fullmatch(module) or PLAIN_TYPES.fullmatch(name):
            problem = f"holds {dotted!r}, which is not among the classes of StyleGAN2 weights"
            raise self.cursor.source.refuse(problem, WEIGHTS_ALONE)
        problem = f"asks for {dotted!r}, which no StyleGAN2 weights need"
        raise self.cursor.source.refuse(problem, UNSAFE)

    def call(self, function: object, args: object) -> object:
        """Build what a stand-in makes of ``args``."""
        if not isinstance(function, StandIn) or not isinstance(args, tuple):
            raise TypeError("a call of something that is no known global")
        lengths = [len(arg) for arg in args if isinstance(arg, list | tuple | dict)]
        texts = [len(arg) for arg in args if isinstance(arg, str)]
        self.budget.spend(1 + sum(lengths), sum(texts))
        try:
            made = function.build(*args)
        except (TypeError, ValueError) as error:
            problem = f"holds a {function.name} that cannot be read ({error})"
            raise self.cursor.source.refuse(problem) from None
        # Byte strings are spans everywhere.
        return Span(self.cursor.source, 0, len(made), made) if isinstance(made, bytes) else made

    def unsigned(self, width: int) -> int:
        """Return the next little-endian integer."""
        return int.from_bytes(self.cursor.take(width), "little")

    def text(self, length: int) -> None:
        """Push text; its sum is bounded."""
        self.budget.spend(text_bytes=length)
        self.stack.append(self.cursor.take(length).decode("utf-8", "surrogatepass"))

    def integer(self, length: int) -> None:
        """Push a two's complement integer of bounded size."""
        if length > MAX_INT_BYTES:
            raise ValueError("integer too long")
        self.stack.append(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def since_mark(self) -> list[Any]:
        """Pop and return everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def store(self, target: object, items: list[Any]) -> None:
        """Put key, value, key, value ... into a dict. Keys are plain and cheap to hash."""
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("items set on something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not is_plain_key(key):
                raise TypeError("a dict key that is neither text nor number")
            target[key] = value

    def extend(self, target: object, items: list[Any]) -> None:
        """Append to a list; sets are kept as lists, so that nothing is hashed."""
        if not isinstance(target, list):
            raise TypeError("items appended to something that is no list")
        target.extend(items)

    def remember(self, index: int) -> None:
        """Put the top of the stack into the memo."""
        if not 0 <= index < MAX_MEMO_INDEX:
            raise ValueError("a memo index out of range")
        self.memo[index] = self.stack[-1]

    def build(self) -> None:
        """Set the state of the object below the top."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record):
            try:
                target.set_state(state)
            except (TypeError, ValueError) as error:
                problem = f"holds a {target.name} that cannot be read ({error})"
                raise self.cursor.source.refuse(problem) from None
        elif not isinstance(target, dict):  # attributes of a dict (torch's _metadata): not needed
            raise TypeError("state set on something that is no object")

    def persist(self, identity: object) -> None:
        """Push what a persistent id stands for."""
        if self.persistent is None:
            raise TypeError("persistent id outside a torch file")
        self.stack.append(self.persistent(identity))
