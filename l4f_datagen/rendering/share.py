"""A share of the plan: what one of several jobs renders, without knowing of the others."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from l4f_datagen.core.errors import UsageError
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.sweep import Draw


@dataclass(frozen=True)
class Share:
    """Every ``of``-th shard, from shard ``index`` on.

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


class ShareQuota(Quota):
    """A quota that walks one share, in whole shards.

    Attempts are shared out exactly. Of accepted samples a job makes its n-th part, in whole
    shards: a little more than it takes, so that few or none are left for the merge, which alone
    can tell where the dataset ends.
    """

    def __init__(self, whole: Quota, share: Share) -> None:
        super().__init__(whole.number, whole.count, whole.sweep)
        self.share = share
        self._whole = whole
        if whole.count == "accepted":
            self.number = -(-whole.number // share.of)
        else:
            size = whole.sweep.shard_size
            starts = range(share.index * size, whole.number, share.of * size)
            self.number = sum(min(size, whole.number - start) for start in starts)

    @property
    def wanted(self) -> None:
        """No shard is cut."""
        return None

    @property
    def step(self) -> int:
        """From one shard of the share to the next."""
        return self.share.of

    def blocks(self, shard: int) -> list[list[Draw]]:
        """Give the blocks of a shard as the whole plan has them."""
        return self._whole.blocks(shard)

    def shards(self) -> Iterator[tuple[int, list[list[Draw]]]]:
        """Yield (shard number, its blocks) of the share until its number is reached.

        Raises:
            L4FError: the filters reject nearly everything.
        """
        for shard in range(self.share.index, self.sweep.num_shards, self.share.of):
            if self.done >= self.number:
                return
            self._refuse_hopeless()
            yield shard, self.blocks(shard)
