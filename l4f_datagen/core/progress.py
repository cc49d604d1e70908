"""Progress: how far a run is, on standard error; silent where that is no terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from l4f_datagen.core.sample import Sample


class Progress:
    """Counts samples of one call of ``make``: rate, time left, accepted and rejected.

    Rate and time left come from what is rendered now; what an earlier run left is counted but
    does not make this one look fast.

    Args:
        bar: advances by what ``count`` says, up to its total.
        count: "accepted" or "attempts".
    """

    def __init__(self, bar: "tqdm[Any]", count: str) -> None:
        self._bar, self._count = bar, count
        self._total = int(bar.total or 0)
        self.accepted, self.rejected = 0, 0

    def found(self, accepted: int, attempted: int) -> None:
        """Count a shard that lay there finished."""
        before = self._done
        self._book(self.accepted + accepted, self.rejected + attempted - accepted)
        if self._bar.disable:  # then it counts nothing, and has no such fields
            return
        self._bar.initial += self._done - before
        self._bar.n = self._done
        self._bar.refresh()

    def rendered(self, samples: Sequence[Sample]) -> None:
        """Count a block made just now."""
        kept = sum(sample.reason is None for sample in samples)
        self._advance(self.accepted + kept, self.rejected + len(samples) - kept)

    def settle(self, accepted: int, attempted: int) -> None:
        """Set both counts to what is finished: a shard may end inside a block."""
        self._advance(accepted, attempted - accepted)

    @property
    def _done(self) -> int:
        whole = self.accepted + (self.rejected if self._count == "attempts" else 0)
        # The last block may hold more accepted samples than are wanted.
        return min(whole, self._total)

    def _advance(self, accepted: int, rejected: int) -> None:
        before = self._done
        self._book(accepted, rejected)
        self._bar.update(self._done - before)

    def _book(self, accepted: int, rejected: int) -> None:
        self.accepted, self.rejected = accepted, rejected
        self._bar.set_postfix(accepted=accepted, rejected=rejected, refresh=False)


@contextmanager
def show_progress(number: int, count: str) -> Iterator[Progress]:
    """Show a bar for so many samples while the block runs.

    Args:
        number: samples asked for.
        count: what ``number`` counts, "accepted" or "attempts".
    """
    # smoothing=0: the rate of the whole run, so that a slow shard does not shake the time left.
    bar: tqdm[Any]
    with tqdm(total=number, desc="make", unit=" samples", smoothing=0, disable=None) as bar:
        yield Progress(bar, count)
