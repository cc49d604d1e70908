"""Alpha networks: the recipe's own training, and the paper's ablations of it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, claim_network
from l4f_datagen.benchmark.unrelated import unrelated_folder, unrelated_name
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.pipeline.networks import alpha_sha256, fitting_alpha
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import weights_path
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.identity import training_id
from l4f_datagen.training.run import COLLAPSED, pretrained, train_alpha
from l4f_datagen.training.sources import SourceContext, open_sources
from l4f_datagen.training.state import build_alpha

logger = logging.getLogger(__name__)

Change = Callable[[Bench, AlphaPart], dict[str, Any]]
"""What an ablation changes of the recipe's alpha part, by dotted name."""


def changed(part: AlphaPart, values: dict[str, Any]) -> AlphaPart:
    """Return the part with values set and checked anew."""
    plain = part.model_dump()
    for name, value in values.items():
        *above, last = name.split(".")
        place = plain
        for step in above:
            place = place[step]
        place[last] = value
    return AlphaPart.model_validate(plain)


def alpha_part(bench: Bench, change: Change, seed: int) -> AlphaPart:
    """Return the alpha part of one ablation and training seed."""
    steps = {"training.steps": bench.steps} if bench.steps else {}
    part = changed(bench.recipe.alpha, {"weights": None, "training.seed": seed} | steps)
    return changed(part, change(bench, part))


def prepare(bench: Bench, seed: int, *, name: str, change: Change) -> Prepared:
    """Train, or open what is trained; a collapsed network is kept and scored as it ended."""
    part, folder = alpha_part(bench, change, seed), bench.network_folder(name, seed)
    ended = folder / COLLAPSED
    if ended.exists():
        claim_network(folder, training_id(part, bench.checkpoint, bench.recipe.generator.crop))
    else:
        try:
            recipe = bench.recipe.model_copy(update={"alpha": part})
            trained = train_alpha(
                recipe, bench.checkpoint, folder, generator=bench.generator, offline=bench.offline
            )
            return Prepared(partial(label, bench, open_alpha(trained.path).build()))
        except Collapsed as error:
            logger.warning(f"{name}, training seed {seed}: {error}; scored as it ended")
            if not ended.exists():
                return Prepared(black, str(error))
    opened = open_alpha(ended)
    words = str(opened.native.training.get("collapsed")) if opened.native else "collapsed"
    return Prepared(partial(label, bench, opened.build()), words)


def check(bench: Bench, *, change: Change) -> None:
    """Refuse what the training would; errors as ``train_alpha``."""
    # Bare grounds are drawn once the folder is claimed; a folder the user names is checked anyway.
    part = alpha_part(bench, partial(muted, rule="conv1") if change is unrelated else change, 0)
    check_features(part, bench.generator)
    pretrained(part, bench.checkpoint)
    crop = bench.recipe.generator.crop
    open_sources(SourceContext(part, bench.generator, crop, bench.offline))


def check_features(part: AlphaPart, generator: Generator) -> None:
    """Refuse features the generator does not have; errors as ``build_alpha``."""
    with torch.random.fork_rng(devices=[]):
        build_alpha(part, generator)


def label(bench: Bench, network: AlphaNetwork, block: Block) -> Masks:
    """Render a block with an alpha network and return the masks ``make`` would write."""
    network = network.to(bench.generator.w_avg.device)
    samples = replace(bench.renderer, alpha=network).render(block.draws)
    return np.stack([sample.mask for sample in samples])


def black(block: Block) -> Masks:
    """Mask nothing: all that a network of NaN says."""
    return np.zeros(block.images.shape[:3], np.bool_)


def settings(bench: Bench, *, change: Change) -> str:
    """Name what decides the masks; folders by what they hold, wherever they lie."""
    part, pictures = alpha_part(bench, change, 0), ""
    if change is unrelated:
        part = changed(part, {"background": "conv1", "background_path": None})
        pictures = f" over {unrelated_name(bench)}"
    return training_id(part, bench.checkpoint, bench.recipe.generator.crop) + pictures


def unchanged(bench: Bench, part: AlphaPart) -> dict[str, Any]:
    """The recipe's training as it stands."""
    return {}


def last_layer(bench: Bench, part: AlphaPart) -> dict[str, Any]:
    """Features of the last resolution alone (Labels4Free, appendix 1.1, Table 2)."""
    return {"lowest_resolution": bench.generator.spec.resolution}


def unrelated(bench: Bench, part: AlphaPart) -> dict[str, Any]:
    """Backgrounds from unrelated pictures (Labels4Free, appendix 1.1, Table 1)."""
    folder = str(unrelated_folder(bench))
    return {"background": "pictures", "background_path": folder, "background_shuffled": False}


def generated_reals(bench: Bench, part: AlphaPart) -> dict[str, Any]:
    """Samples of the frozen generator in place of real images."""
    return {"training.reals": "generator", "training.reals_folder": None}


def muted(bench: Bench, part: AlphaPart, *, rule: str) -> dict[str, Any]:
    """The authors' two ways to mute the trunk."""
    return {"background": rule, "background_path": None}


def alpha_method(name: str, about: str, change: Change, **more: Any) -> Method:
    """Build the table's entry of one ablation."""

    def same_as(bench: Bench) -> str | None:
        if change in (unchanged, unrelated):
            return None
        same = alpha_part(bench, change, 0) == alpha_part(bench, unchanged, 0)
        return "full" if same else None

    return Method(
        about,
        partial(prepare, name=name, change=change),
        partial(settings, change=change),
        same_as=same_as,
        check=partial(check, change=change),
        **more,
    )


def lacks_pictures(bench: Bench) -> str | None:
    """Say what backgrounds from elsewhere lack."""
    if bench.unrelated is None and not bench.is_toy:
        return "needs unrelated pictures: give --unrelated DIR"
    return None


def prepare_given(bench: Bench, seed: int) -> Prepared:
    """Open the weights the recipe names; errors as ``weights.fitting_checkpoint``."""
    return Prepared(partial(label, bench, open_given(bench)))


def open_given(bench: Bench) -> AlphaNetwork:
    """Open the alpha network the recipe names."""
    named = bench.recipe.alpha.weights or ""
    return fitting_alpha(weights_path(named, "alpha", offline=bench.offline), bench.checkpoint)


def lacks_weights(bench: Bench) -> str | None:
    """Say that there is nothing to open."""
    named = bench.recipe.alpha.weights
    return None if named else "needs alpha weights: give --alpha, or name them in the recipe"


ALPHAS = {
    "given-weights": Method(
        "the alpha weights the recipe names, as they are",
        prepare_given,
        lambda bench: alpha_sha256(open_given(bench)),
        lacking=lacks_weights,
        check=open_given,
        seeded=False,
    ),
    "full": alpha_method("full", "the recipe's training", unchanged),
    "last-layer": alpha_method("last-layer", "features of the last resolution alone", last_layer),
    "unrelated-backgrounds": alpha_method(
        "unrelated-backgrounds",
        "backgrounds from unrelated pictures",
        unrelated,
        lacking=lacks_pictures,
    ),
    "reals-generator": alpha_method(
        "reals-generator", "no real image: the generator's own samples", generated_reals
    ),
    "const-mute": alpha_method(
        "const-mute", "backgrounds with the constant muted", partial(muted, rule="const")
    ),
    "conv1-mute": alpha_method(
        "conv1-mute", "backgrounds with the first layer muted", partial(muted, rule="conv1")
    ),
}
