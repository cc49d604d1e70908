"""Progress on standard error: a bar on a terminal, elsewhere a line every so often.

Both are shown where the package's messages are (see ``core.logs``), so ``--quiet`` and plain
library use are silent.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm

from l4f_datagen.core.sample import Sample

logger = logging.getLogger(__name__)

EARLY_SECONDS, LATE_SECONDS, EARLY_LINES = 10.0, 60.0, 6  # from line to line, off a terminal


def duration_text(seconds: float) -> str:
    """Write a duration as people do, to two units.

    >>> duration_text(5), duration_text(200), duration_text(4000)
    ('5 s', '3 min', '1 h 7 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"


def size_text(size: float) -> str:
    """Write a number of bytes in decimal units, as disks are sold.

    >>> size_text(364_027_523)
    '364 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:.3g} TB"


class Meter(AbstractContextManager["Meter"]):
    """Counts the units of one stage; rate and time left come from what this run does.

    ``initial`` units were there before and make this run no faster.
    """

    def __init__(
        self, total: int | None, title: str, unit: str, *, initial: int = 0, in_bytes: bool = False
    ) -> None:
        self.total, self.title, self.unit = total, title, unit
        self.done = self.initial = initial
        self._in_bytes, self._lines = in_bytes, 0
        self._facts: dict[str, object] = {}
        self._started = self._spoke = time.monotonic()
        on_terminal = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None
        if on_terminal and logger.isEnabledFor(logging.INFO):
            self._bar = tqdm(
                total=total,
                desc=title,
                unit="B" if in_bytes else f" {unit}",
                unit_scale=in_bytes,
                initial=initial,
                smoothing=0,  # the rate of the whole run, so that one slow step does not shake it
                dynamic_ncols=True,
            )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing the bar; its last state stays visible."""
        if self._bar is not None:
            self._bar.close()

    def advance(self, units: int = 1, **facts: object) -> None:
        """Count units that were done just now, and show facts beside them."""
        self.done += units
        self._facts |= facts
        if self._bar is not None:
            self._bar.set_postfix(self._facts, refresh=False)
            self._bar.update(units)
            return
        now = time.monotonic()
        if now - self._spoke >= (EARLY_SECONDS if self._lines < EARLY_LINES else LATE_SECONDS):
            self._spoke, self._lines = now, self._lines + 1
            logger.info(self.line())

    def found(self, units: int, **facts: object) -> None:
        """Count units that an earlier run left."""
        self.done += units
        self.initial += units
        self._facts |= facts
        if self._bar is not None:
            self._bar.initial, self._bar.n = self.initial, self.done
            self._bar.set_postfix(self._facts)

    def line(self) -> str:
        """Return one line: how far the stage is, its speed and the time left."""
        new, seconds = self.done - self.initial, time.monotonic() - self._started
        amount = size_text if self._in_bytes else "{:,}".format
        text = f"{self.title}: {amount(self.done)}"
        text += f" of {amount(self.total)}" if self.total else ""
        text += "" if self._in_bytes else f" {self.unit}"
        if self.total:
            text += f" ({self.done / self.total:.0%})"
        if new > 0 and seconds > 0:
            rate = new / seconds
            text += f", {size_text(rate) if self._in_bytes else f'{rate:.3g} {self.unit}'}/s"
            if self.total is not None:
                text += f", {duration_text((self.total - self.done) / rate)} left"
        return ", ".join([text, *(f"{name} {value}" for name, value in self._facts.items())])


class Progress(AbstractContextManager["Progress"]):
    """Counts samples of one call of ``make``; ``count`` is "accepted" or "attempts"."""

    def __init__(self, number: int, count: str) -> None:
        self.meter = Meter(number, "make", "samples")
        self._number, self._count = number, count
        self.accepted, self.rejected = 0, 0

    def __exit__(self, *_: object) -> None:
        self.meter.close()

    def found(self, accepted: int, attempted: int) -> None:
        """Count a shard that an earlier run finished."""
        self._book(accepted, attempted - accepted, self.meter.found)

    def rendered(self, samples: Sequence[Sample]) -> None:
        """Count a block made just now."""
        kept = sum(sample.reason is None for sample in samples)
        self._book(kept, len(samples) - kept, self.meter.advance)

    def settle(self, accepted: int, attempted: int) -> None:
        """Set both counts to what is finished: a shard may end inside a block."""
        rejected = attempted - accepted - self.rejected
        self._book(accepted - self.accepted, rejected, self.meter.advance)

    def _book(self, accepted: int, rejected: int, count: Callable[..., None]) -> None:
        self.accepted += accepted
        self.rejected += rejected
        whole = self.accepted + (self.rejected if self._count == "attempts" else 0)
        # The last block may hold more accepted samples than are wanted.
        done = min(whole, self._number)
        count(done - self.meter.done, accepted=self.accepted, rejected=self.rejected)


def usable_cores() -> int:
    """Cores this process may use, which a cluster or container may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
