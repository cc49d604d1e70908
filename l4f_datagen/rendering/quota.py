"""Where a dataset ends: the one place that knows which shard, block and sample is the last.

``--n`` counts accepted samples or attempts. A run walks the shards of the plan (all, or its share
of them) until the number is reached. Attempts cut the plan inside a block; accepted samples cut a
shard right behind the sample that fills the number, so that a dataset is the head of a longer one.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.core.sample import Sample
from l4f_datagen.rendering.plan import Draw, Sweep

PATIENCE, PATIENCE_FACTOR = 1000, 20
"""A run is stopped as hopeless after so many attempts, and so many for each accepted sample: the
default filters accept more than half, and a grey alpha network none."""


class ShardCounts(Protocol):
    """What is known of a finished shard, from the record that ``dataset`` keeps of it."""

    @property
    def planned(self) -> int:
        """Samples the plan gave it."""

    @property
    def attempted(self) -> int:
        """Samples rendered; fewer than planned where the wanted number was reached."""

    @property
    def accepted(self) -> int:
        """Samples with files."""

    @property
    def rejected(self) -> Mapping[str, int]:
        """Reason to number."""

    @property
    def ends_accepted(self) -> bool:
        """Whether its last attempt was accepted."""


@dataclass(frozen=True)
class Share:
    """Every ``of``-th shard, from shard ``index`` on: what one of several jobs renders.

    Attributes:
        index: from 0, as Slurm's and Kubernetes' own task numbers.
        of: how many jobs there are.
    """

    index: int
    of: int

    def owns(self, shard: int) -> bool:
        """Whether a shard is in this share."""
        return shard % self.of == self.index

    def __str__(self) -> str:
        """Write it as on the command line."""
        return f"{self.index}/{self.of}"


def parse_share(text: str) -> Share:
    """Read ``i/n``.

    >>> parse_share("2/8")
    Share(index=2, of=8)

    Raises:
        UsageError: no such share; the first is 0/n, the last (n - 1)/n.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not int(match[1]) < int(match[2]):
        problem = f"expected i/n with i from 0 to n - 1, got {text!r}"
        raise UsageError("--shard", problem, "write --shard 0/8 to --shard 7/8 for 8 jobs")
    return Share(int(match[1]), int(match[2]))


@dataclass
class Quota:
    """Counts what is done and says what is next.

    Attributes:
        asked: samples the whole dataset is to have.
        count: what ``asked`` counts, "accepted" or "attempts".
        sweep: the plan.
        share: the part of the plan that is rendered here; None: all of it. Attempts are shared out
            exactly. Of accepted samples a job makes its n-th part in whole shards, a little more
            than it takes, so that few or none are left for the merge, which alone can tell where
            the dataset ends.
        accepted: accepted so far.
        attempted: attempted so far.
        rejected: reason to number, so far.

    Raises:
        UsageError: less than one sample asked for, or more than the plan has positions.
    """

    asked: int
    count: str
    sweep: Sweep
    share: Share | None = None
    accepted: int = 0
    attempted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse what the plan cannot give."""
        if self.sweep.capacity == 0:
            problem = f"has {len(self.sweep.seeds)} seeds, too few for one turn of the psi"
            raise UsageError("--seeds", problem, "a psi of share k takes k seeds a turn; give more")
        if self.asked < 1:
            raise UsageError("--n", f"asks for {self.asked} samples", "ask for at least 1")
        if self.asked > self.sweep.capacity:
            problem = f"asks for {self.asked}, but psi x seeds has {self.sweep.capacity} positions"
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

    def book(self, shard: ShardCounts) -> None:
        """Count one finished shard."""
        self.accepted += shard.accepted
        self.attempted += shard.attempted
        self.rejected.update(shard.rejected)

    def shards(self) -> Iterator[tuple[int, list[list[Draw]]]]:
        """Yield (shard number, its blocks) until the number is reached.

        Raises:
            L4FError: the number cannot be reached: the plan is at its end (a share leaves that to
                the merge), or the filters reject nearly everything.
        """
        first = self.share.index if self.share else 0
        for shard in range(first, self.sweep.num_shards, self.step):
            if self.done >= self.number:
                return
            self._refuse_hopeless()
            yield shard, self.blocks(shard)
        if self.done < self.number and not self.share:
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
        left = max(0, self.asked - shard * self.sweep.shard_size)
        starts = range(0, left, self.sweep.block_size)
        return [block[: left - start] for start, block in zip(starts, blocks, strict=False)]

    def attempts_ahead(self, accepted: int, rejected: int) -> float | None:
        """Estimate how many attempts are still needed; None where all that are planned are.

        Args:
            accepted: so far, with the shard under way.
            rejected: likewise.
        """
        if self.wanted is None:
            return None
        return (self.asked - accepted) * (1 + rejected / (1 + accepted))

    def missing(self, read: Callable[[int], ShardCounts | None], last: int) -> list[int]:
        """Name the shards that a dataset lacks up to where it would end; books the others.

        Where accepted samples are counted and none before it is missing, the shard behind the last
        one there is named; else nobody knows yet whether it is needed.

        Args:
            read: shard number to its record, None where there is none.
            last: highest number of a shard that is there, -1 for none.

        Raises:
            L4FError: all are there, and yet too few samples.
        """
        missing = list[int]()
        try:
            for shard, blocks in self.shards():
                found = read(shard)
                if found:
                    self.book(found)
                    continue
                if self.count == "attempts":
                    self.attempted += sum(map(len, blocks))
                elif shard > last and missing:
                    break
                missing.append(shard)
                if self.count == "accepted" and shard > last:
                    break
        except L4FError:
            if not missing:  # else the samples that lack are those of the missing shards
                raise
        return missing

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


def cut_after_accepted(samples: Sequence[Sample], wanted: int | None) -> Sequence[Sample]:
    """Keep the samples up to and with the ``wanted``-th accepted one; None keeps all."""
    if wanted is None:
        return samples
    for position, sample in enumerate(samples):
        wanted -= sample.reason is None
        if wanted <= 0:
            return samples[: position + 1]
    return samples


def until_accepted(
    blocks: Iterable[Sequence[Sample]], wanted: int | None
) -> Iterator[Sequence[Sample]]:
    """Yield blocks up to and with the one that holds the ``wanted``-th accepted sample."""
    for block in blocks:
        yield block
        if wanted is not None:
            wanted -= sum(sample.reason is None for sample in block)
            if wanted <= 0:
                return


def ends_where_asked(shard: ShardCounts, planned: int, wanted: int | None) -> bool:
    """Whether an undisturbed run would leave a finished shard as it is.

    Args:
        shard: its record.
        planned: samples the plan gives the shard now.
        wanted: accepted samples still wanted from here on; None takes all that are planned.
    """
    if planned != shard.planned:
        return False
    if wanted is None or shard.accepted < wanted:
        return shard.attempted == planned
    return shard.accepted == wanted and shard.ends_accepted


def positions_given(
    sweep: Sweep, last: int, planned: int | None, attempts: int, ends_accepted: bool
) -> int | None:
    """Find out where the plan of a finished dataset was cut, inside of a block maybe.

    Args:
        sweep: the plan.
        last: number of its last shard.
        planned: samples that were planned for that shard; None where its record is not there, as
            after a download.
        attempts: of the whole dataset.
        ends_accepted: whether the last of them was accepted.

    Returns:
        The number of positions; None where the run was free to render whole blocks.
    """
    if planned is not None:
        return last * sweep.shard_size + planned
    return None if ends_accepted else attempts  # a run that counts accepted samples ends with one
