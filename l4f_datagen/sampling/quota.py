"""How far through the plan a dataset goes: until so many are accepted, or attempted."""

from collections.abc import Iterator
from dataclasses import dataclass

from l4f_datagen.errors import L4FError, UsageError
from l4f_datagen.sampling.sweep import Draw, Sweep

PATIENCE = 1000
"""Attempts, and attempts for each accepted sample asked, before a hopeless run is stopped."""
PATIENCE_FACTOR = 20


@dataclass
class Quota:
    """Counts what is done and says what is next.

    Attributes:
        number: samples asked for.
        count: what ``number`` counts, "accepted" or "attempts".
        sweep: the plan.
        accepted: accepted so far.
        attempted: attempted so far.

    Raises:
        UsageError: the plan has fewer positions than attempts asked for.
    """

    number: int
    count: str
    sweep: Sweep
    accepted: int = 0
    attempted: int = 0

    def __post_init__(self) -> None:
        """Refuse what the plan cannot give."""
        if self.number > self.sweep.capacity:
            problem = f"asks for {self.number}, but psi x seeds has {self.sweep.capacity} positions"
            raise UsageError("--n", problem, "give more --seeds or psi, or a smaller --n")

    @property
    def wanted(self) -> int | None:
        """Accepted samples still wanted; None where attempts are counted."""
        return self.number - self.accepted if self.count == "accepted" else None

    @property
    def done(self) -> int:
        """How much of ``number`` is reached."""
        return self.accepted if self.count == "accepted" else self.attempted

    def book(self, accepted: int, attempted: int) -> None:
        """Count one finished shard."""
        self.accepted += accepted
        self.attempted += attempted

    def shards(self) -> Iterator[tuple[int, list[list[Draw]]]]:
        """Yield (shard number, its blocks) until the number is reached.

        Raises:
            L4FError: the number cannot be reached: the plan is at its end, or the filters reject
                nearly everything.
        """
        for shard in range(self.sweep.num_shards):
            if self.done >= self.number:
                return
            self._refuse_hopeless()
            blocks = list(self.sweep.shard(shard))
            yield shard, blocks if self.count == "accepted" else self._cut(blocks)
        if self.done < self.number:
            problem = f"the plan ends with {self.accepted} of {self.number} samples accepted"
            raise L4FError("make", problem, "give more --seeds or loosen the filters")

    def _cut(self, blocks: list[list[Draw]]) -> list[list[Draw]]:
        """Keep the attempts asked for; a cut block is rendered as a smaller batch."""
        left = self.number - self.attempted
        kept = []
        for block in blocks:
            if left <= 0:
                break
            kept.append(block[:left])
            left -= len(block)
        return kept

    def _refuse_hopeless(self) -> None:
        if self.count == "attempts" or self.attempted < PATIENCE:
            return
        if self.attempted > PATIENCE_FACTOR * max(self.accepted, 1):
            problem = f"only {self.accepted} of {self.attempted} attempts passed the filters"
            raise L4FError("make", problem, "loosen the filters or look at the alpha network")
