"""The main job from Python: samples one by one, or a whole dataset, by a domain's name."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from l4f_datagen.core.sample import Sample
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.local_engine import filtered
from l4f_datagen.pipeline.make import make_dataset as run_make
from l4f_datagen.pipeline.networks import Doubts, obtain_networks
from l4f_datagen.recipe import Recipe, check_recipe
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.rendering.plan import sweep_of


def samples(
    recipe: Recipe | str | Path,
    seeds: str | Iterable[int] | None = None,
    psi: float | Sequence[float] | None = None,
    *,
    device: str = "auto",
    offline: bool = False,
    accept_doubtful_alpha: bool = False,
) -> Iterator[Sample]:
    """Render samples of a recipe, accepted and rejected ones, in the order of the plan.

    The networks are opened, and the alpha network trained where the recipe has none, before this
    returns; samples are then rendered a block at a time, as they are asked for. L4FError for seeds
    or psi that make no plan, an unusable alpha network, and from weights.

    Args:
        recipe: resolved, or a domain or file for ``load_recipe``.
        seeds: ranges such as "0-99,120" or numbers, used for every psi; None: those of the recipe,
            as many as are asked for.
        psi: truncations, in turn; None: those of the recipe.
        device: "auto", "cpu", "cuda", ...
        offline: fetch nothing.
        accept_doubtful_alpha: render with an alpha network that is judged unusable, too.

    Returns:
        ``Sample``: image uint8 ``h w 3``, alpha float32 ``h w`` in [0, 1], mask bool ``h w``,
        scores, and the reason why a filter rejects it (None: accepted).
    """
    changes: dict[str, object] = {}
    if psi is not None:
        changes["psi"] = (psi,) if isinstance(psi, int | float) else tuple(psi)
    if seeds is not None:
        text = seeds if isinstance(seeds, str) else ",".join(map(str, seeds))
        changes |= {"seeds": text, "same_seeds": True}
    data = _resolved(recipe).model_dump(mode="json")
    changed = check_recipe(data | {"sampling": data["sampling"] | changes}, "samples")
    plan = sweep_of(changed.sampling)
    doubts: Doubts = "warn" if accept_doubtful_alpha else "refuse"
    renderer = obtain_networks(changed, device, offline=offline, doubts=doubts).renderer
    shards = map(plan.shard, range(plan.num_shards))
    of_shards = (filtered(map(renderer.render, blocks), changed) for blocks in shards)
    return chain.from_iterable(chain.from_iterable(of_shards))


def make_dataset(
    recipe: Recipe | str | Path, out: Path | str, n: int, **options: Any
) -> dict[str, Any]:
    """Make a labelled dataset of ``n`` accepted samples, or go on with one, as the command does.

    ``recipe`` is resolved, or a domain or file for ``load_recipe``; ``out`` the folder of the
    dataset, or the URL of a place such as ``s3://bucket/cars``. The options are fields of
    ``MakeConfig``, such as ``count``, ``device``, ``overwrite``. Returns the manifest: counts,
    scores, provenance, and the hashes of all files. L4FError from any stage.
    """
    is_url = isinstance(out, str) and "://" in out
    return run_make(MakeConfig(_resolved(recipe), out if is_url else Path(out), n, **options))


def _resolved(recipe: Recipe | str | Path) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
