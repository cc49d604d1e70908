"""MakeConfig: one call of ``make``, and what an engine is. Every engine makes the same bytes.

An engine is opened once a run. It provides a function that makes one shard and returns its marker;
shards are asked for in the order of the plan, those finished by an earlier run left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from l4f_datagen.core.progress import Progress
from l4f_datagen.dataset.formats.backgrounds import refuse_among_backgrounds
from l4f_datagen.dataset.manifest import Marker
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.quota import Share

MakeShard = Callable[[int, Progress], Marker]  # makes one shard, up to the count still wanted


@dataclass(frozen=True)
class MakeConfig:
    """One call of ``make``; UsageError where ``out`` lies in the recipe's folder of backgrounds."""

    recipe: Recipe  # resolved
    out: Path | str  # dataset folder, or the URL of a place as text
    number: int  # how many samples
    count: str = "accepted"  # what ``number`` counts, "accepted" samples or "attempts"
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:0", "mps"
    devices: tuple[str, ...] = ()  # several devices of one kind, in place of ``device``
    workers: int | None = None  # threads that render on a CPU; None: all its cores; same bytes
    engine: str = "local"  # or "ray"
    ray_address: str | None = None  # the cluster; None starts one here
    share: Share | None = None  # make only these shards; other jobs and ``merge`` make the rest
    overwrite: bool = False  # throw away what the folder holds
    offline: bool = False  # fetch nothing
    accept_doubtful_alpha: bool = False  # label with an alpha network judged unusable, too

    def __post_init__(self) -> None:
        if isinstance(self.out, Path):
            refuse_among_backgrounds(self.recipe.output, self.out)
