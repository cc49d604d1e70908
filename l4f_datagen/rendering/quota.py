"""How far through the plan a dataset goes: until so many are accepted, or attempted."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.rendering.sweep import Draw, Sweep

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
        rejected: reason to number, so far.

    Raises:
        UsageError: less than one sample asked for, or more than the plan has positions.
    """

    number: int
    count: str
    sweep: Sweep
    accepted: int = 0
    attempted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse what the plan cannot give."""
        if self.sweep.capacity == 0:
            problem = f"has {len(self.sweep.seeds)} seeds, too few for one turn of the psi"
            raise UsageError("--seeds", problem, "a psi of share k takes k seeds a turn; give more")
        if self.number < 1:
            raise UsageError("--n", f"asks for {self.number} samples", "ask for at least 1")
        if self.number > self.sweep.capacity:
            problem = f"asks for {self.number}, but psi x seeds has {self.sweep.capacity} positions"
            raise UsageError("--n", problem, "give more --seeds or psi, or a smaller --n")

    @property
    def wanted(self) -> int | None:
        """Accepted samples still wanted; None where attempts are counted."""
        return self.number - self.accepted if self.count == "accepted" else None

    @property
    def step(self) -> int:
        """From one shard to the next."""
        return 1

    @property
    def done(self) -> int:
        """How much of ``number`` is reached."""
        return self.accepted if self.count == "accepted" else self.attempted

    def book(
        self, accepted: int, attempted: int, rejected: Mapping[str, int] | None = None
    ) -> None:
        """Count one finished shard."""
        self.accepted += accepted
        self.attempted += attempted
        self.rejected.update(rejected or {})

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
            yield shard, self.blocks(shard)
        if self.done < self.number:
            problem = f"the plan ends with {self.accepted} of {self.number} samples accepted"
            problem += self._table()
            raise L4FError("make", problem, "give more --seeds or loosen the filters")

    def blocks(self, shard: int) -> list[list[Draw]]:
        """Give the blocks of a shard, up to the last attempt asked for; none beyond it.

        A cut block is rendered as a smaller batch.
        """
        if shard >= self.sweep.num_shards:
            return []
        blocks = list(self.sweep.shard(shard))
        if self.count == "accepted":
            return blocks
        left = max(0, self.number - shard * self.sweep.shard_size)
        starts = range(0, left, self.sweep.block_size)
        return [block[: left - start] for start, block in zip(starts, blocks, strict=False)]

    def _refuse_hopeless(self) -> None:
        if self.count == "attempts" or self.attempted < PATIENCE:
            return
        if self.attempted > PATIENCE_FACTOR * max(self.accepted, 1):
            problem = f"only {self.accepted} of {self.attempted} attempts passed the filters"
            problem += self._table()
            raise L4FError("make", problem, "loosen the filters or look at the alpha network")

    def _table(self) -> str:
        reasons = ", ".join(f"{reason} {times}" for reason, times in self.rejected.most_common())
        return f" (rejected: {reasons})" if reasons else ""
