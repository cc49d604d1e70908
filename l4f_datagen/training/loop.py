"""Train the alpha network without labels (Labels4Free, sec. 3.3).

Each step: the frozen generator makes foregrounds (truncated) and, from the same z with its trunk
muted, backgrounds; the alpha network composites them; a discriminator that has seen few steps
compares composites with real images. Every random number is a function of (seed, attempt, step),
so a resumed run continues bit for bit. A collapse is answered by a restart with a changed setting;
of the snapshots, the one that scores best without labels is kept.
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from l4f_datagen.core.errors import UsageError
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training.backgrounds import BACKGROUNDS, Background
from l4f_datagen.training.balance import fixed_bracket
from l4f_datagen.training.collapse import KINDS, collapsed, diagnose, knobs_after
from l4f_datagen.training.images import Pictures, draw_pictures
from l4f_datagen.training.object_size import Bracket, coverage_bracket
from l4f_datagen.training.precision import new_scaler
from l4f_datagen.training.ranks import ALONE, Ranks
from l4f_datagen.training.reals import REALS, Reals
from l4f_datagen.training.selection import best_snapshot
from l4f_datagen.training.state import StepFacts, Training
from l4f_datagen.training.steps import Setting, step_stream, train_step

logger = logging.getLogger(__name__)

__all__ = [
    "Pictures",
    "StepFacts",
    "Training",
    "build_alpha",
    "draw_pictures",
    "new_training",
    "step_stream",
    "train_alpha",
    "train_step",
]

# Lazy regularisation scales learning rate and betas by interval / (interval + 1) (Karras et al.
# 2020, sec. 3.1); the authors train the alpha network as a generator regularised each 4th step.
ALPHA_LAZY = 4 / 5

Watch = Callable[[Training, StepFacts], None]


@dataclass(frozen=True)
class Sources:
    """Where a training's pictures come from, opened."""

    reals: Reals
    background: Background


def open_sources(part: AlphaPart, generator: Generator, *, offline: bool = False) -> Sources:
    """Open the recipe's reals and backgrounds; with ``offline`` nothing is fetched.

    Raises:
        InputRefused: no pictures, or some that cannot be used.
        CheckpointRefused: a second generator that cannot be used.
        NetworkError: a dataset or generator that cannot be fetched.
    """
    reals = REALS[part.training.reals](part.training, generator, offline=offline)
    return Sources(reals, BACKGROUNDS[part.background](part, generator, offline=offline))


def build_alpha(part: AlphaPart, generator: Generator) -> AlphaNetwork:
    """Return an untrained alpha network for this generator.

    Raises:
        UsageError: ``lowest_resolution`` that the generator does not have.
    """
    resolutions = alpha_resolutions(generator.spec.resolution)
    if part.lowest_resolution is not None:
        resolutions = [r for r in generator.spec.resolutions[1:] if r >= part.lowest_resolution]
        if part.lowest_resolution not in resolutions:
            known = ", ".join(map(str, generator.spec.resolutions[1:]))
            problem = f"must be one of {known}, got {part.lowest_resolution}"
            raise UsageError("alpha.lowest_resolution", problem, "name a resolution of the trunk")
    return AlphaNetwork(generator.spec.channels, resolutions)


def new_training(
    part: AlphaPart,
    generator: Generator,
    pretrained: Discriminator | None = None,
    *,
    failures: tuple[str, ...] = (),
) -> Training:
    """Build the networks from the recipe's seed.

    Args:
        part: the recipe's alpha part.
        generator: frozen.
        pretrained: the checkpoint's own discriminator, for ``discriminator: pretrained``.
        failures: collapses of earlier attempts; each gives other first weights.

    Raises:
        UsageError: the recipe asks for a pretrained discriminator and there is none.
    """
    config = part.training
    device = generator.w_avg.device
    attempt_seed = int(step_stream(config.seed, 0, len(failures) + 1).randint(2**31))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(attempt_seed if failures else config.seed)
        alpha = build_alpha(part, generator)
        discriminator = Discriminator(generator.spec.resolution, generator.spec.channels)
        average = build_alpha(part, generator).requires_grad_(False)
    if config.discriminator == "pretrained":
        if pretrained is None:
            problem = "asks for a pretrained one, but the checkpoint has none"
            remedy = "set alpha.training.discriminator to scratch"
            raise UsageError("alpha.training.discriminator", problem, remedy)
        discriminator = copy.deepcopy(pretrained).requires_grad_(True).train()
    average.load_state_dict(alpha.state_dict())
    for net in (alpha, average, discriminator):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    d_rate = config.learning_rate * knobs_after(failures).d_learning_rate
    d_lazy = config.d_reg_interval / (config.d_reg_interval + 1)
    return Training(
        alpha,
        average,
        discriminator,
        _adam(alpha, config.learning_rate, ALPHA_LAZY),
        _adam(discriminator, d_rate, d_lazy),
        new_scaler(config.precision, device),
        new_scaler(config.precision, device),
        pretrained,
        failures=list(failures),
    )


def _adam(net: torch.nn.Module, learning_rate: float, lazy: float) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), learning_rate * lazy, (0.0**lazy, 0.99**lazy))


def is_snapshot(config: TrainingPart, step: int) -> bool:
    """Whether a step ends with a snapshot: every ``snapshot_interval`` and the last."""
    return step % config.snapshot_interval == 0 or step == config.steps


def bracket_of(part: AlphaPart, generator: Generator) -> Bracket:
    """Return the coverage limits of a training."""
    auto = part.training.balance == "auto"
    return coverage_bracket(part, generator) if auto else fixed_bracket(part.training)


def train_alpha(
    part: AlphaPart,
    generator: Generator,
    *,
    training: Training,
    sources: Sources | None = None,
    watch: Watch = lambda training, facts: None,
    ranks: Ranks = ALONE,
) -> AlphaNetwork:
    """Train to ``training.steps`` from wherever ``training`` stands and return the network.

    Args:
        part: the recipe's alpha part.
        generator: frozen, evaluated where its weights lie.
        training: from ``new_training``, possibly with a loaded state.
        sources: of pictures; None opens the recipe's.
        watch: called after every step (logs, snapshots, previews, progress).
        ranks: who else trains on the joint batch.

    Raises:
        Collapsed: the training collapsed in every attempt; the last failure in words.
    """
    config = part.training
    sources = sources or open_sources(part, generator)
    bracket = bracket_of(part, generator)
    if config.balance == "auto":
        limits = f"{bracket.lower:.2f} to {bracket.upper:.2f}"
        found = f"the generator's object covers {bracket.share:.2f} of a picture"
        logger.info(f"alpha training: {found}; {limits} is let pass")

    def setting() -> Setting:
        knobs = knobs_after(training.failures)
        return Setting(part, generator, sources.reals, sources.background, bracket, knobs, ranks)

    current = setting()
    failure = diagnose(training.recent, bracket, config)
    while failure or training.step < config.steps:
        if failure is None:
            facts = train_step(training, current)
            if is_snapshot(config, training.step):
                training.keep_snapshot()
            watch(training, facts)
        failure = failure or diagnose(training.recent, bracket, config)
        if failure is None:
            continue
        failures = (*training.failures, failure)
        if len(failures) >= config.attempts:
            coverage = training.recent[-1].alpha_coverage
            raise collapsed(failures, coverage, pictures=config.reals_folder)
        logger.info(
            f"alpha training: {KINDS[failure].words} at step {training.step}; starting again with "
            f"{KINDS[failure].knob.replace('_', ' ')} x {KINDS[failure].factor:g}"
        )
        # In place: whoever watches holds this very training.
        vars(training).update(
            vars(new_training(part, generator, training.pretrained, failures=failures))
        )
        current, failure = setting(), None
    training.kept = training.step
    if config.keep == "best":
        step, score = best_snapshot(training, current)
        logger.info(f"alpha training: keeping the snapshot of step {step}, {score}")
        training.average.load_state_dict(training.snapshots[step])
        training.kept = step
    return training.average.eval()
