"""Sequential reading of one part of a file, for pickles that lie between raw data."""

from .storage import ByteSource, Span

MAX_LINE = 1024
WINDOW = 8192


class Cursor:
    """Sequential reads of one part of a file through a small window."""

    def __init__(self, span: Span) -> None:
        self.source: ByteSource = span.source
        self.span = span
        self.position = 0
        self._window = b""
        self._base = 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        start = self.position - self._base
        if start < 0 or start + count > len(self._window):
            left = self.span.length - self.position
            if count > left:
                raise self.source.refuse(f"ends early: {count} bytes announced, {left} left")
            self._window = self.span.read(self.position, min(max(count, WINDOW), left))
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
        left = self.span.length - self.position
        if count < 0 or count > left:
            raise self.source.refuse(f"ends early: {count} bytes announced, {left} left")
        start = self.position
        self.position += count
        return self.span.part(start, count)
