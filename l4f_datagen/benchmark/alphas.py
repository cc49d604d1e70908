"""Alpha networks: the recipe's own training, and the paper's ablations of it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.stores import listing_sha256
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.pipeline.networks import alpha_sha256, fitting_checkpoint
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import assign, weights_path
from l4f_datagen.toys.ground import draw_ground
from l4f_datagen.toys.scene import TOYS
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.run import COLLAPSED, pretrained, train_alpha, training_id
from l4f_datagen.training.sources import SourceContext, open_sources
from l4f_datagen.training.state import build_alpha

logger = logging.getLogger(__name__)

UNRELATED = "unrelated-backgrounds"
EMPTY_GROUNDS = 2_000  # images that replace the paper's MIT Places in a toy domain
CHANGES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "full": lambda bench: {},
    # Labels4Free, appendix 1.1, Table 2.
    "last-layer": lambda bench: {"lowest_resolution": bench.side},
    # Labels4Free, appendix 1.1, Table 1.
    UNRELATED: lambda bench: {
        "background": "pictures",
        "background_path": str(unrelated_folder(bench)),
        "background_shuffled": False,
    },
    # No real image: the generator's own samples.
    "reals-generator": lambda bench: {"training.reals": "generator", "training.reals_folder": None},
    # The authors' two ways to mute the trunk.
    "const-mute": lambda bench: {"background": "const", "background_path": None},
    "conv1-mute": lambda bench: {"background": "conv1", "background_path": None},
}
"""Name -> what an ablation changes of the recipe's alpha part; ``full`` is its own training."""


def changed(part: AlphaPart, values: dict[str, Any]) -> AlphaPart:
    """Return the part with values set by dotted name, checked again."""
    plain = part.model_dump()
    for name, value in values.items():
        assign(plain, name, value, name)
    return AlphaPart.model_validate(plain)


def trial_part(bench: Bench) -> AlphaPart:
    """Return the recipe's alpha part; a trial has one round of self-training, where it has any."""
    part = bench.recipe.alpha
    if bench.config.trial:
        part = changed(part, {"training.self_training": min(1, part.training.self_training)})
    return part


def alpha_part(bench: Bench, name: str, seed: int) -> AlphaPart:
    """Return the alpha part of one ablation and training seed."""
    steps = {"training.steps": bench.config.steps} if bench.config.steps else {}
    part = changed(trial_part(bench), {"weights": None, "training.seed": seed} | steps)
    return changed(part, CHANGES[name](bench))


def prepare(bench: Bench, seed: int, *, name: str) -> Prepared:
    """Train, or open what is trained; a collapsed network is kept and scored as it ended."""
    part, folder = alpha_part(bench, name, seed), bench.network_folder(name, seed)
    ended = folder / COLLAPSED
    if ended.exists():
        identity = training_id(part, bench.checkpoint, bench.recipe.generator.crop)
        bench.claim_network(name, seed, identity)
    else:
        recipe = bench.recipe.model_copy(update={"alpha": part})
        options: dict[str, Any] = {"generator": bench.generator, "offline": bench.config.offline}
        try:
            trained = train_alpha(recipe, bench.checkpoint, folder, **options)
            return Prepared(partial(label, bench, open_alpha(trained.path).build()))
        except Collapsed as error:
            logger.warning(f"{name}, training seed {seed}: {error}; scored as it ended")
            if not ended.exists():  # its weights are NaN: it masks nothing
                return Prepared(lambda block: np.zeros(block.images.shape[:3], bool), str(error))
    opened = open_alpha(ended)
    reason = str(opened.native.training.get("collapsed")) if opened.native else "collapsed"
    return Prepared(partial(label, bench, opened.build()), reason)


def check(bench: Bench, *, name: str) -> None:
    """Refuse what the training would refuse; errors as ``train_alpha``."""
    # Empty grounds are only drawn when the benchmark's folder is claimed: muted ones stand in.
    part = alpha_part(bench, "conv1-mute" if name == UNRELATED else name, 0)
    check_features(bench, part)
    pretrained(part, bench.checkpoint)
    crop = bench.recipe.generator.crop
    open_sources(SourceContext(part, bench.generator, crop, bench.config.offline))


def check_features(bench: Bench, part: AlphaPart) -> None:
    """Refuse features that the generator does not have; errors as ``build_alpha``."""
    with torch.random.fork_rng(devices=[]):
        build_alpha(part, bench.generator)


def label(bench: Bench, network: AlphaNetwork, block: Block) -> Masks:
    """Render a block with an alpha network and return the masks that ``make`` would write."""
    samples = replace(bench.renderer, alpha=network.to(bench.device)).render(block.draws)
    return np.stack([sample.mask for sample in samples])


def settings(bench: Bench, *, name: str) -> str:
    """Name what decides the masks; folders by what they hold."""
    crop = bench.recipe.generator.crop
    if name != UNRELATED:
        return training_id(alpha_part(bench, name, 0), bench.checkpoint, crop)
    part = changed(alpha_part(bench, "conv1-mute", 0), {"background_shuffled": False})
    return f"{training_id(part, bench.checkpoint, crop)} over {unrelated_name(bench)}"


def other_toy(domain: str) -> str:
    """Name the toy domain that follows this one in the table; the first follows the last."""
    names = list(TOYS)
    return names[(names.index(domain) + 1) % len(names)]


def empty_ground(seed: int, size: int, domain: str) -> NDArray[np.uint8]:
    """Render a toy domain's ground without an object, ``size size 3``."""
    layout, grain = np.random.default_rng(seed).spawn(2)
    grounds = TOYS[domain].grounds
    ground = draw_ground(layout, grounds)
    image = grounds[ground.name].render(ground, grain, size)
    return np.ascontiguousarray(image_to_uint8(image.transpose(1, 2, 0) * 2 - 1))


def unrelated_folder(bench: Bench) -> Path:
    """Return the folder of unrelated images; a toy domain takes the other's empty grounds."""
    if bench.config.unrelated is not None:
        return bench.config.unrelated.resolve()
    folder = bench.config.out / "unrelated"
    folder.mkdir(exist_ok=True)
    for seed in range(bench.sized(EMPTY_GROUNDS)):
        path = folder / f"{seed:05d}.png"
        if not path.exists():
            ground = empty_ground(seed, bench.side, other_toy(bench.recipe.domain))
            save_png(Image.fromarray(ground), path)
    return folder.resolve()


def unrelated_name(bench: Bench) -> str:
    """Name the unrelated images by what they are, not by where they are."""
    if bench.config.unrelated is None:
        return f"{bench.sized(EMPTY_GROUNDS)} bare grounds of {other_toy(bench.recipe.domain)}"
    return listing_sha256(str(bench.config.unrelated)) or str(bench.config.unrelated)


def open_given(bench: Bench) -> AlphaNetwork:
    """Open the alpha network that the recipe names; errors as ``networks.fitting_checkpoint``."""
    named, offline = bench.recipe.alpha.weights or "", bench.config.offline
    path = weights_path(named, "alpha", offline=offline)
    return fitting_checkpoint(path, bench.checkpoint).build()


def alpha_method(name: str) -> Method:
    """Build the table's entry of one ablation."""

    def same_as(bench: Bench) -> str | None:
        if name in ("full", UNRELATED):
            return None
        return "full" if alpha_part(bench, name, 0) == alpha_part(bench, "full", 0) else None

    return Method(
        partial(prepare, name=name),
        partial(settings, name=name),
        needs="unrelated images: give --unrelated DIR",
        has=lambda bench: name != UNRELATED or bench.config.unrelated is not None or bench.is_toy,
        same_as=same_as,
        check=partial(check, name=name),
    )


GIVEN = Method(
    lambda bench, seed: Prepared(partial(label, bench, open_given(bench))),
    lambda bench: alpha_sha256(open_given(bench)),
    needs="alpha weights: give --alpha, or name them in the recipe",
    has=lambda bench: bench.recipe.alpha.weights,
    check=open_given,
    seeded=False,
)
ALPHAS = {"given-weights": GIVEN} | {name: alpha_method(name) for name in CHANGES}
