"""The plan: which psi and seed each sample has, in one fixed order cut in blocks, and its split.

A position in the plan fixes psi and seed whatever the number of samples, shards or workers, so a
dataset can be resumed, extended or split without renumbering anything.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import sample_key
from l4f_datagen.recipe import SamplingPart, SplitPart
from l4f_datagen.recipe.seeds import Seeds, parse_seeds


@dataclass(frozen=True)
class Draw:
    """One position of the plan."""

    image_id: int  # counts from 1
    psi: float
    seed: int

    @property
    def key(self) -> str:
        """The sample's file stem."""
        return sample_key(self.psi, self.seed)


@dataclass(frozen=True)
class Sweep:
    """The full plan of a recipe; UsageError for two different psi whose keys would be the same.

    With psi (0.5, 1.0) the plan reads 0.5 seed 0, 1.0 seed 1, 0.5 seed 2, ...: every sample has a
    seed of its own. With ``same_seeds`` the seeds advance once every psi has had its turn: 0.5 seed
    0, 1.0 seed 0, 0.5 seed 1, ...; a psi listed k times then takes k seeds a turn.
    """

    psi: tuple[float, ...]  # in turn
    seeds: Seeds  # in the order of use
    block_size: int  # samples rendered in one batch, always the same ones together
    blocks_per_shard: int
    same_seeds: bool = True

    def __post_init__(self) -> None:
        keys = {psi: sample_key(psi, 0) for psi in self.psi}
        if len(set(keys.values())) < len(keys):
            problem = f"two of {sorted(keys)} agree to three decimals, so their keys would too"
            raise UsageError("--psi", problem, "keep psi at least 0.001 apart")

    @property
    def shard_size(self) -> int:
        """Samples in a full shard."""
        return self.block_size * self.blocks_per_shard

    @property
    def num_shards(self) -> int:
        """Shards of the whole plan."""
        return -(-self.capacity // self.shard_size)

    @property
    def capacity(self) -> int:
        """How many positions the plan has: full turns only, so that the shares are exact."""
        # Seeds that one turn uses up: those of the psi that is listed most often, or of all.
        used = max(map(self.psi.count, self.psi)) if self.same_seeds else len(self.psi)
        return len(self.psi) * (len(self.seeds) // used)

    def draw(self, position: int) -> Draw:
        """Return what stands at ``position`` (from 0)."""
        turn, slot = divmod(position, len(self.psi))
        psi = self.psi[slot]
        if self.same_seeds:
            place = turn * self.psi.count(psi) + self.psi[:slot].count(psi)
        else:
            place = position
        return Draw(position + 1, psi, self.seeds[place])

    def shard(self, index: int) -> Iterator[list[Draw]]:
        """Yield the blocks of one shard; the last of a limited plan may be short or missing."""
        first = index * self.shard_size
        stop = min(first + self.shard_size, self.capacity)
        for start in range(first, stop, self.block_size):
            end = min(start + self.block_size, stop)
            yield [self.draw(position) for position in range(start, end)]


def sweep_of(part: SamplingPart) -> Sweep:
    """Return the recipe's plan.

    UsageError for psi or seeds that make none, InputRefused for latents that cannot be read.
    """
    seeds = parse_seeds(part.seeds)
    if part.latents is not None:
        from l4f_datagen.rendering.latents import open_latents  # imports torch

        seeds = seeds.rows_of(open_latents(part.latents).rows, part.latents)
    return Sweep(part.psi, seeds, part.block_size, part.blocks_per_shard, part.same_seeds)


def split_of(key: str, shares: SplitPart) -> str:
    """Return "train", "val" or "test", a function of the key alone.

    The seed, which follows the last dash of the key, is hashed: the images of one seed at
    several psi show nearly the same object, and must not meet in train and test.

    >>> split_of("psi0700-seed0000123", SplitPart())
    'train'
    """
    digest = hashlib.sha256(key.rpartition("-")[2].encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64  # [0, 1)
    if place < shares.test:
        return "test"
    return "val" if place < shares.test + shares.val else "train"
