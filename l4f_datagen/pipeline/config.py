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

MakeShard = Callable[[int, Progress], Marker]
"""Makes the shard of this number, up to the count that is still wanted."""


@dataclass(frozen=True)
class MakeConfig:
    """One call of ``make``.

    Attributes:
        recipe: resolved.
        out: dataset folder, or the URL of a place as text.
        number: how many samples.
        count: whether ``number`` counts "accepted" samples or "attempts".
        device: "auto", "cpu", "cuda", "cuda:0", "mps".
        devices: several devices of one kind, in place of ``device``.
        workers: threads that render on a CPU; None: all its cores. It changes no byte.
        engine: "local" or "ray".
        ray_address: the cluster; None starts one here.
        share: make only these shards; other jobs and ``merge`` make the rest.
        overwrite: throw away what the folder holds.
        offline: fetch nothing.
        accept_doubtful_alpha: label with an alpha network that is judged unusable, too.

    Raises:
        UsageError: ``out`` lies in the recipe's folder of backgrounds.
    """

    recipe: Recipe
    out: Path | str
    number: int
    count: str = "accepted"
    device: str = "auto"
    devices: tuple[str, ...] = ()
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    share: Share | None = None
    overwrite: bool = False
    offline: bool = False
    accept_doubtful_alpha: bool = False

    def __post_init__(self) -> None:
        """Refuse a folder that would change what the recipe reads."""
        if isinstance(self.out, Path):
            refuse_among_backgrounds(self.recipe.output, self.out)
