"""Samples one by one in Python: image, soft alpha, mask and scores, without a dataset folder."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from l4f_datagen.core.sample import Sample
from l4f_datagen.pipeline.local_engine import filtered
from l4f_datagen.pipeline.networks import obtain_networks
from l4f_datagen.recipe import Recipe, check_recipe
from l4f_datagen.rendering.plan import sweep_of


def samples(
    recipe: Recipe,
    seeds: str | Iterable[int] | None = None,
    psi: float | Sequence[float] | None = None,
    *,
    device: str = "auto",
    offline: bool = False,
) -> Iterator[Sample]:
    """Render samples of a recipe, accepted and rejected ones, in the order of the plan.

    The networks are opened, and the alpha network trained where the recipe has none, before this
    returns; samples are then rendered a block at a time, as they are asked for.

    Args:
        recipe: resolved.
        seeds: ranges such as "0-99,120" or numbers, used for every psi; None: those of the recipe,
            as many as are asked for.
        psi: truncations, in turn; None: those of the recipe.
        device: "auto", "cpu", "cuda", ...
        offline: fetch nothing.

    Returns:
        ``Sample``: image uint8 ``h w 3``, alpha float32 ``h w`` in [0, 1], mask bool ``h w``,
        scores, and the reason why a filter rejects it (None: accepted).

    Raises:
        L4FError: seeds or psi that make no plan, or from weights, in words.
    """
    changes: dict[str, object] = {}
    if psi is not None:
        changes["psi"] = (psi,) if isinstance(psi, int | float) else tuple(psi)
    if seeds is not None:
        text = seeds if isinstance(seeds, str) else ",".join(map(str, seeds))
        changes |= {"seeds": text, "same_seeds": True}
    data = recipe.model_dump(mode="json")
    recipe = check_recipe(data | {"sampling": data["sampling"] | changes}, "samples")
    plan = sweep_of(recipe.sampling)
    networks = obtain_networks(recipe, device, offline=offline)
    renderer = networks.renderer
    return chain.from_iterable(
        block
        for shard in range(plan.num_shards)
        for block in filtered(map(renderer.render, plan.shard(shard)), recipe)
    )
