"""A file's bytes on demand: bounded reads, spans of the file, and a cursor that walks through one.

No size that a file declares is trusted: every length is compared with the bytes that are there
before memory is taken.
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from l4f_datagen.core.errors import CheckpointRefused

AGAIN = "get the file again, it is damaged or not complete"
# Enough for the longest message about a sound file (four names and shapes); file names and keys of
# a hostile file must not fill the terminal.
MAX_PROBLEM = 400
# The longest line that Python writes in protocol 0 for what weights hold: a dotted global.
MAX_LINE = 1024
# Bytes read ahead: most operations take a few, and a read from the file costs a system call.
WINDOW = 8192


class ByteSource:
    """A regular file opened for bounded reads; anything else is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.stat = path.stat()
            if not stat.S_ISREG(self.stat.st_mode):
                raise self.refuse("is not a regular file", "give the path of a checkpoint file")
            self._file = path.open("rb", buffering=0)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise self.refuse(f"cannot be read ({problem})", "check the path") from None
        self.size = self.stat.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    @property
    def whole(self) -> "Span":
        """The span of all bytes."""
        return Span(self, 0, self.size)

    def refuse(self, problem: str, remedy: str = AGAIN) -> CheckpointRefused:
        """Return the error to raise about this file, safe to print whatever the file holds."""
        shown = "".join(char if char.isprintable() else "?" for char in problem[:MAX_PROBLEM])
        return CheckpointRefused(str(self.path), shown, remedy)

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` from byte ``start`` on; a file that ends earlier is refused."""
        self._file.seek(start)
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])
            if not count:
                raise self.refuse(f"ends after {start + done} bytes, more were announced")
            done += count


@dataclass(frozen=True)
class Span:
    """Bytes inside a file (``source``), or a few bytes already in memory (``inline``)."""

    source: ByteSource
    start: int
    length: int
    inline: bytes | None = None

    def part(self, start: int, length: int) -> "Span":
        """Return a span inside this one; what is not there is refused."""
        if start < 0 or length < 0 or start + length > self.length:
            problem = f"ends early: {length} bytes are announced at {start} of {self.length}"
            raise self.source.refuse(problem)
        if self.inline is not None:
            return Span(self.source, 0, length, self.inline[start : start + length])
        return Span(self.source, self.start + start, length)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Return ``length`` bytes from ``start`` of the span on (None: to its end)."""
        part = self.part(start, self.length - start if length is None else length)
        if part.inline is not None:
            return part.inline
        out = bytearray(part.length)
        self.source.read_into(part.start, memoryview(out))
        return bytes(out)

    def head(self, length: int) -> bytes:
        """Return the first ``length`` bytes, or all where there are fewer."""
        return self.read(0, min(length, self.length))

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` from ``start`` of the span on."""
        if self.inline is not None:
            view[:] = self.inline[start : start + len(view)]
        else:
            self.source.read_into(self.start + start, view)


class Cursor:
    """Sequential reads of one span through a small window."""

    def __init__(self, span: Span) -> None:
        self.source, self.span, self.position = span.source, span, 0
        self._window, self._base = b"", 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        start = self.position - self._base
        if not 0 <= start <= len(self._window) - count:
            ahead = max(count, min(WINDOW, self.span.length - self.position))
            self._window = self.span.read(self.position, ahead)
            self._base, start = self.position, 0
        self.position += count
        return self._window[start : start + count]

    def line(self) -> str:
        """Return the next line of text without its end."""
        start = self.position
        ahead = self.take(min(MAX_LINE, self.span.length - start))
        end = ahead.find(b"\n")
        if end < 0:
            raise ValueError("a line without an end")
        self.position = start + end + 1
        return ahead[:end].decode("utf-8")

    def skip(self, count: int) -> Span:
        """Return the next ``count`` bytes as a span, unread."""
        part = self.span.part(self.position, count)
        self.position += count
        return part
