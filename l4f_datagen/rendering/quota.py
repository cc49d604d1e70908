"""Where a dataset ends: the one place that knows which shard, block and sample is the last.

``--n`` counts accepted samples or attempts. A run walks the shards of the plan (all, or its share
of them) until the number is reached. Attempts cut the plan inside a block; accepted samples cut a
shard right behind the sample that fills the number, so that a dataset is the head of a longer one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.core.sample import Sample
from l4f_datagen.rendering.plan import Draw, Sweep

PATIENCE, PATIENCE_FACTOR = 1000, 20
"""A run is stopped as hopeless after so many attempts, and so many for each accepted sample: the
default filters accept more than half, and a grey alpha network none."""


@dataclass(frozen=True)
class Share:
    """Every ``of``-th shard, from shard ``index`` on: what one of several jobs renders."""

    index: int  # from 0, as Slurm's and Kubernetes' own task numbers
    of: int  # how many jobs there are

    def owns(self, shard: int) -> bool:
        """Whether a shard is in this share."""
        return shard % self.of == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def parse_share(text: str) -> Share:
    """Read ``i/n``; UsageError where it is no share, of which 0/n is the first.

    >>> parse_share("2/8")
    Share(index=2, of=8)
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        problem = f"expected i/n with i from 0 to n - 1, got {text!r}"
        raise UsageError("--shard", problem, "write --shard 0/8 to --shard 7/8 for 8 jobs")
    return Share(int(match[1]), int(match[2]))


@dataclass
class Quota:
    """Counts what is done and says what is next.

    Attempts are shared out exactly. Of accepted samples a job makes its n-th part in whole shards,
    a little more than it takes, so that few or none are left for the merge, which alone can tell
    where the dataset ends.

    UsageError for less than one sample, or more than the plan has positions.
    """

    asked: int  # samples that the whole dataset is to have
    count: str  # what ``asked`` counts, "accepted" or "attempts"
    sweep: Sweep
    share: Share | None = None  # the part of the plan rendered here; None: all of it
    accepted: int = 0  # so far, as the next two
    attempted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # reason to number

    def __post_init__(self) -> None:
        capacity = self.sweep.capacity
        if capacity == 0:
            problem = f"has {len(self.sweep.seeds)} seeds, too few for one turn of the psi"
            raise UsageError("--seeds", problem, "a psi of share k takes k seeds a turn; give more")
        if self.asked < 1:
            raise UsageError("--n", f"asks for {self.asked} samples", "ask for at least 1")
        if self.asked > capacity:
            problem = f"asks for {self.asked}, but psi x seeds has {capacity} positions"
            raise UsageError("--n", problem, "give more --seeds or psi, or a smaller --n")

    @property
    def number(self) -> int:
        """Samples to reach here: those asked for, or the share's part of them."""
        if self.share is None:
            return self.asked
        if self.count == "accepted":
            return -(-self.asked // self.share.of)
        size = self.sweep.shard_size
        starts = range(self.share.index * size, self.asked, self.share.of * size)
        return sum(min(size, self.asked - start) for start in starts)

    @property
    def wanted(self) -> int | None:
        """Accepted samples still wanted; None for attempts and for a share: no shard is cut."""
        return None if self.share or self.count == "attempts" else self.asked - self.accepted

    @property
    def step(self) -> int:
        """From one shard to the next."""
        return self.share.of if self.share else 1

    @property
    def done(self) -> int:
        """How much of ``number`` is reached."""
        return self.accepted if self.count == "accepted" else self.attempted

    def book(self, accepted: int, attempted: int, rejected: Mapping[str, int]) -> None:
        """Count one finished shard."""
        self.accepted += accepted
        self.attempted += attempted
        self.rejected.update(rejected)

    def shards(self) -> Iterator[tuple[int, list[list[Draw]]]]:
        """Yield (shard number, its blocks) until the number is reached.

        L4FError where it cannot be: the plan is at its end (a share leaves that to the merge), or
        the filters reject nearly everything.
        """
        first = self.share.index if self.share else 0
        for shard in range(first, self.sweep.num_shards, self.step):
            tried = self.attempted
            if self.done >= self.number:
                return
            hopeless = tried >= PATIENCE and tried > PATIENCE_FACTOR * self.accepted
            if hopeless and self.count == "accepted":
                problem = f"only {self.accepted} of {tried} attempts passed the filters"
                raise self._failure(problem, "loosen the filters or look at the alpha network")
            yield shard, self.blocks(shard)
        if self.done < self.number and not self.share:
            problem = f"the plan ends with {self.accepted} of {self.number} samples accepted"
            raise self._failure(problem, "give more --seeds or loosen the filters")

    def _failure(self, problem: str, remedy: str) -> L4FError:
        reasons = ", ".join(f"{reason} {times}" for reason, times in self.rejected.most_common())
        return L4FError("make", problem + (f" (rejected: {reasons})" if reasons else ""), remedy)

    def blocks(self, shard: int) -> list[list[Draw]]:
        """Give the blocks of a shard, up to the last attempt asked for; none beyond it.

        A cut block is rendered as a smaller batch.
        """
        blocks = list(self.sweep.shard(shard))
        if self.count == "accepted":
            return blocks
        left = max(0, self.asked - shard * self.sweep.shard_size)
        starts = range(0, left, self.sweep.block_size)
        return [block[: left - start] for start, block in zip(starts, blocks, strict=False)]

    def attempts_ahead(self, accepted: int, rejected: int) -> float | None:
        """Estimate how many attempts are still needed; None where all that are planned are.

        ``accepted`` and ``rejected`` are so far, with the shard under way.
        """
        if self.wanted is None:
            return None
        return (self.asked - accepted) * (1 + rejected / (1 + accepted))


def until_accepted(
    blocks: Iterable[Sequence[Sample]], wanted: int | None
) -> Iterator[Sequence[Sample]]:
    """Yield blocks up to and with the ``wanted``-th accepted sample, where the last is cut.

    No block beyond it is pulled; None yields all.
    """
    for block in blocks:
        if wanted is not None:
            accepted = [k for k, sample in enumerate(block) if sample.reason is None]
            if len(accepted) >= wanted:
                yield block[: accepted[wanted - 1] + 1]
                return
            wanted -= len(accepted)
        yield block
