"""From a recipe's words to networks on a device: generator, and alpha network loaded or trained."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from l4f_datagen.checkpoints.open import (
    AlphaCheckpoint,
    GeneratorCheckpoint,
    open_alpha,
    open_generator,
)
from l4f_datagen.core.errors import CheckpointRefused, L4FError, UsageError
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.devices import choose_device
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import GeneratorPart, Recipe
from l4f_datagen.recipe.domains import local_weights, weights_path
from l4f_datagen.rendering.render import Renderer, renderer_of
from l4f_datagen.training.history import read_history
from l4f_datagen.training.run import RESULT, cached_training, train_alpha
from l4f_datagen.training.verdict import judge_alpha, read_verdict

logger = logging.getLogger(__name__)

Doubts = Literal["refuse", "warn", "ignore"]
"""What an unusable network costs: an error, a warning, or nothing where it was said before."""

JUDGED_PIXELS = 256  # largest image of which a CPU renders the 32 samples of a verdict in seconds
FEW = 4
"""Samples beyond that size: 11 s of one core at 1024 px. Grey, empty and full networks are so on
almost every sample."""
ANYWAY = "--accept-doubtful-alpha (in Python, accept_doubtful_alpha=True) labels with it anyway"
TRAIN = "train one with `l4f-datagen train`"
UNLABELLED: Mapping[str, Any] = {"unsupervised": True, "labels": 0, "supervision": ""}


@dataclass(frozen=True)
class Networks:
    """What a dataset is made with."""

    checkpoint: GeneratorCheckpoint
    renderer: Renderer
    alpha_sha256: str  # names its weights, whatever file they came from
    alpha_labels: Mapping[str, Any]  # what hand-made labels did to it, see `label_facts`
    alpha_run: Path | None  # folder of its training, where it was trained for this recipe
    alpha_course: Mapping[str, Any] | None  # what that folder says, see `read_history`


def obtain_generator(
    part: GeneratorPart, device: torch.device, *, offline: bool = False
) -> tuple[GeneratorCheckpoint, Generator]:
    """Open the recipe's generator and put it on the device.

    UsageError where the recipe names none, or a crop beyond its canvas.
    """
    if part.weights is None:
        raise UsageError("generator", "the recipe names no weights", "give --generator FILE")
    path = weights_path(part.weights, "generator", offline=offline)
    checkpoint = open_generator(path, part.class_index)
    side = checkpoint.spec.resolution
    if part.crop is not None:
        left, top, right, bottom = part.crop
        if not (0 <= left < right <= side and 0 <= top < bottom <= side):
            box = f"{list(part.crop)} (left, top, right, bottom)"
            problem = f"{box} reaches beyond the {side} x {side} px images of {path.name}"
            remedy = "the recipe may be for another generator: set generator.crop=null"
            raise UsageError("generator.crop", problem, remedy)
    generator = checkpoint.build().to(device)
    return checkpoint, generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fitting_checkpoint(path: Path, checkpoint: GeneratorCheckpoint) -> AlphaCheckpoint:
    """Open an alpha network's file; CheckpointRefused where it belongs to another generator."""
    opened = open_alpha(path)
    spec, side, remedy = checkpoint.spec, opened.resolutions[-1], TRAIN
    read = {resolution: spec.channels.get(resolution) for resolution in opened.resolutions}
    if side != spec.resolution:
        problem = f"is for images of {side} px, {checkpoint.path.name} makes {spec.resolution} px"
        remedy = "check that both files belong together"
    elif read != dict(opened.channels):
        problem = f"reads features {dict(opened.channels)}, the generator has {dict(spec.channels)}"
    elif opened.generator_fingerprint not in (None, checkpoint.fingerprint):
        problem = f"was trained on another generator than {checkpoint.path}"
    else:
        return opened
    raise CheckpointRefused(str(path), problem, remedy)


def keep_fitting_alpha(recipe: Recipe, own: str) -> Recipe:
    """Keep the alpha network of a recipe whose generator the user replaced, where it fits.

    The same weights in another file, such as a converted one, keep it (``own``); other weights make
    it meaningless. A message tells the user which it is.
    """
    file, alpha_file = Path(recipe.generator.weights or ""), local_weights(own, "alpha")
    checkpoint = open_generator(file, recipe.generator.class_index)
    try:
        fits = open_alpha(alpha_file).generator_fingerprint == checkpoint.fingerprint
    except CheckpointRefused:
        fits = False
    if not fits:
        logger.info(f"{file} is another generator: the recipe's alpha network {own} is set aside")
        return recipe
    logger.info(f"{file} holds the recipe's own generator: its alpha network {own} is used")
    return recipe.model_copy(update={"alpha": recipe.alpha.model_copy(update={"weights": own})})


def obtain_networks(
    recipe: Recipe, device: str, *, offline: bool = False, doubts: Doubts = "refuse"
) -> Networks:
    """Open, fetch or train everything a recipe needs; ``doubts`` as in `settle_doubts`.

    An alpha network is trained once and kept in the cache.
    """
    on, part = choose_device(device), recipe.alpha
    checkpoint, generator = obtain_generator(recipe.generator, on, offline=offline)
    # Built first: what does not go with this generator is refused before a training.
    renderer = renderer_of(recipe, generator, None, labelled=True)
    run, fresh = None, False
    if part.weights is not None:
        path = weights_path(part.weights, "alpha", offline=offline)
    else:
        run = cached_training(part, checkpoint, recipe.generator.crop)
        path = run / RESULT
        fresh = not path.exists()
        if fresh:
            logger.info(f"no alpha network given: training one on {on}, into {run}")
        train_alpha(recipe, checkpoint, run, generator=generator, offline=offline)
    opened = fitting_checkpoint(path, checkpoint)
    alpha = opened.build().to(on)
    renderer = replace(renderer, alpha=alpha)
    settle_doubts(recipe, opened, renderer, doubts, said=fresh)
    facts = opened.native.training if opened.native else {}
    course = None if run is None else read_history(run, facts)
    weights, labels = alpha_sha256(alpha), label_facts(opened)
    return Networks(checkpoint, renderer, weights, labels, run, course)


def label_facts(opened: AlphaCheckpoint) -> Mapping[str, Any]:
    """Return what a file records about hand-made labels that its alpha network has seen.

    Keys: ``unsupervised``, False where the network was fitted to labels; ``labels``, the number of
    labelled images that fitted or chose it; ``supervision``, the same in words.
    """
    training = opened.native.training if opened.native else {}
    said = {name: (training.get(name), plain) for name, plain in UNLABELLED.items()}
    return {name: it if type(it) is type(plain) else plain for name, (it, plain) in said.items()}


def alpha_sha256(network: AlphaNetwork) -> str:
    """Name an alpha network by its weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def settle_doubts(
    recipe: Recipe, opened: AlphaCheckpoint, renderer: Renderer, doubts: Doubts, *, said: bool
) -> None:
    """Refuse a renderer's alpha network that is unusable, warn of one that is doubtful.

    The verdict is the one that the file holds; the network of any other file is judged here. Those
    that ship are tested. ``said``: its training has just warned of it. The error is
    CheckpointRefused where the recipe names the file, L4FError where the network was trained for
    this recipe.
    """
    weights = recipe.alpha.weights
    if doubts == "ignore" or (weights or "").startswith("builtin:"):
        return
    verdict = read_verdict(opened.native.training if opened.native else {})
    if verdict is None:
        alpha, generator = renderer.alpha, renderer.generator
        assert alpha is not None
        is_slow = renderer.device.type == "cpu" and generator.spec.resolution > JUDGED_PIXELS
        few: dict[str, Any] = {"samples": FEW, "batch": 1} if is_slow else {}
        verdict = judge_alpha(alpha, generator, threshold=recipe.output.mask_threshold, **few)
    if verdict.grade == "unusable" and doubts == "refuse":
        refusal = L4FError if weights is None else CheckpointRefused
        problem = f"the alpha network is unusable: {verdict.why}"
        raise refusal(str(opened.path), problem, f"{verdict.remedy}; {ANYWAY}")
    if verdict.grade != "good" and not said:
        logger.warning("the alpha network is %s", verdict)
