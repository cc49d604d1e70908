"""Doubts: whether an alpha network is good enough to label with, before anything is written."""

import logging
from typing import Literal

from l4f_datagen.checkpoints.open import AlphaCheckpoint
from l4f_datagen.core.errors import CheckpointRefused, L4FError
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.training.verdict import Verdict, judge_alpha, read_verdict

logger = logging.getLogger(__name__)

Doubts = Literal["refuse", "warn", "ignore"]
"""What an unusable network costs: an error, a warning, or nothing where it was said before."""

JUDGED_PIXELS = 256
"""Largest image of which a CPU renders the 32 samples of a verdict within seconds."""
FEW = 4
"""Samples beyond that size: 11 s of one core at 1024 px. Grey, empty and full networks are so on
almost every sample."""
ANYWAY = "--accept-doubtful-alpha (in Python, accept_doubtful_alpha=True) labels with it anyway"


def settle_doubts(
    recipe: Recipe,
    opened: AlphaCheckpoint,
    alpha: AlphaNetwork,
    generator: Generator,
    *,
    doubts: Doubts,
    said: bool = False,
) -> None:
    """Refuse an alpha network that is unusable, warn of one that is doubtful.

    The verdict is the one that the file holds; the network of any other file is judged here. Those
    that ship are tested.

    Args:
        recipe: resolved.
        opened: file of the alpha network.
        alpha: on the generator's device.
        generator: frozen.
        doubts: what an unusable network costs.
        said: whether its training has just warned of it.

    Raises:
        CheckpointRefused: an unusable network from a file that the recipe names.
        L4FError: an unusable network that was trained for this recipe.
    """
    weights = recipe.alpha.weights
    if doubts == "ignore" or (weights or "").startswith("builtin:"):
        return
    facts = opened.native.training if opened.native else {}
    verdict = read_verdict(facts) or _judge(recipe, alpha, generator)
    if verdict.grade == "unusable" and doubts == "refuse":
        refusal = L4FError if weights is None else CheckpointRefused
        problem = f"the alpha network is unusable: {verdict.why}"
        remedy = f"{verdict.remedy}; {ANYWAY}"
        raise refusal(str(opened.path), problem, remedy)
    if verdict.grade != "good" and not said:
        logger.warning("the alpha network is %s", verdict)


def _judge(recipe: Recipe, alpha: AlphaNetwork, generator: Generator) -> Verdict:
    threshold = recipe.output.mask_threshold
    on_cpu = generator.w_avg.device.type == "cpu"
    if on_cpu and generator.spec.resolution > JUDGED_PIXELS:
        return judge_alpha(alpha, generator, threshold=threshold, samples=FEW, batch=1)
    return judge_alpha(alpha, generator, threshold=threshold)
