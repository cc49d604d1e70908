"""Train the alpha network without labels (Labels4Free, sec. 3.3).

Each step: the frozen generator makes foregrounds (truncated) and, from the same z with its trunk
muted, backgrounds; the alpha network composites them; a discriminator that has seen few steps
compares composites with real images. Every random number is a function of (seed, step), so a
resumed run continues bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from l4f_datagen.alpha import losses
from l4f_datagen.alpha.backgrounds import BACKGROUNDS
from l4f_datagen.alpha.network import AlphaNetwork, alpha_resolutions
from l4f_datagen.alpha.reals import REALS, Reals
from l4f_datagen.errors import L4FError, UsageError
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.stylegan2.discriminator import Discriminator
from l4f_datagen.stylegan2.generator import Features, Generator

# Lazy regularisation scales learning rate and betas by interval / (interval + 1) (Karras et al.
# 2020, sec. 3.1); the authors train the alpha network as a generator regularised each 4th step.
ALPHA_LAZY = 4 / 5
COLLAPSED_BELOW, COLLAPSED_ABOVE = 0.005, 0.985
COLLAPSE_STEPS = 20


@dataclass(frozen=True)
class StepFacts:
    """What one step measured, for the log.

    Attributes:
        step: 1 for the first.
        d_loss: logistic loss of the discriminator.
        realism: adversarial loss of the alpha network.
        binarization: mean min(alpha, 1 - alpha).
        alpha_coverage: mean alpha of the batch.
    """

    step: int
    d_loss: float
    realism: float
    binarization: float
    alpha_coverage: float


@dataclass
class Training:
    """Networks, optimisers, the step, the last mean alphas: all that a resumed run needs."""

    alpha: AlphaNetwork
    average: AlphaNetwork
    discriminator: Discriminator
    alpha_optim: torch.optim.Adam
    d_optim: torch.optim.Adam
    step: int = 0
    coverage: list[float] = field(default_factory=list)

    STATES = ("alpha", "average", "discriminator", "alpha_optim", "d_optim")

    def save(self, path: Path) -> None:
        """Write the state, staged and renamed."""
        payload: dict[str, Any] = {name: getattr(self, name).state_dict() for name in self.STATES}
        staged = path.with_name(path.name + ".part")
        torch.save(payload | {"step": self.step, "coverage": self.coverage}, staged)
        staged.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a state that ``save`` wrote.

        Raises:
            UsageError: not a state of this training.
        """
        try:
            payload = torch.load(path, weights_only=True, map_location="cpu")
            for name in self.STATES:
                getattr(self, name).load_state_dict(payload[name])
            self.step, self.coverage = int(payload["step"]), list(payload["coverage"])
        except Exception as error:
            problem = f"is not a training state of this recipe ({type(error).__name__})"
            raise UsageError(str(path), problem, "use another --out or remove the file") from error


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
    part: AlphaPart, generator: Generator, pretrained: Discriminator | None = None
) -> Training:
    """Build the networks from the recipe's seed.

    Args:
        part: the recipe's alpha part.
        generator: frozen.
        pretrained: the checkpoint's own discriminator, for ``discriminator: pretrained``.

    Raises:
        UsageError: the recipe asks for a pretrained discriminator and there is none.
    """
    config = part.training
    device = generator.w_avg.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        alpha = build_alpha(part, generator)
        discriminator = Discriminator(generator.spec.resolution, generator.spec.channels)
        average = build_alpha(part, generator).requires_grad_(False)
    if config.discriminator == "pretrained":
        if pretrained is None:
            problem = "asks for a pretrained one, but the checkpoint has none"
            remedy = "set alpha.training.discriminator to scratch"
            raise UsageError("alpha.training.discriminator", problem, remedy)
        discriminator = pretrained.requires_grad_(True).train()
    average.load_state_dict(alpha.state_dict())
    for net in (alpha, average, discriminator):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    d_lazy = config.d_reg_interval / (config.d_reg_interval + 1)
    return Training(
        alpha,
        average,
        discriminator,
        _adam(alpha, config.learning_rate, ALPHA_LAZY),
        _adam(discriminator, config.learning_rate, d_lazy),
    )


def _adam(net: torch.nn.Module, learning_rate: float, lazy: float) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), learning_rate * lazy, (0.0**lazy, 0.99**lazy))


@dataclass(frozen=True)
class Pictures:
    """One batch to composite: foreground with its features, background, as the step sees them."""

    fg_image: Tensor
    features: Features
    bg_image: Tensor


@torch.no_grad()
def draw_pictures(part: AlphaPart, generator: Generator, stream: np.random.RandomState) -> Pictures:
    """Foreground at ``psi`` and untruncated background of the same z, each with fresh noise."""
    batch = part.training.batch
    z = torch.from_numpy(stream.randn(batch, generator.spec.z_dim).astype(np.float32))
    w = generator.mapping(z.to(generator.w_avg.device))
    noises = []
    for _ in range(2):
        streams = [np.random.RandomState(stream.randint(2**31)) for _ in range(batch)]
        noises.append(generator.noise("random", streams))
    fg = generator.synthesis(generator.truncate(w, part.training.psi), noises[0])
    bg_image = BACKGROUNDS[part.background](generator, generator.truncate(w, 1.0), noises[1])
    return Pictures(fg.image, fg.features, bg_image)


def train_step(
    training: Training, part: AlphaPart, generator: Generator, reals: Reals
) -> StepFacts:
    """One step of discriminator and alpha network."""
    config = part.training
    stream = step_stream(config.seed, training.step)
    pictures = draw_pictures(part, generator, stream)
    alpha = training.alpha(pictures.features)
    fake = losses.composite(pictures.fg_image, pictures.bg_image, alpha)
    real = reals(stream, config.batch).to(fake)
    if config.mirror:
        mirrored = torch.from_numpy(stream.rand(config.batch) < 0.5).to(real.device)
        real = torch.where(mirrored[:, None, None, None], real.flip(3), real)

    d_loss = discriminator_step(training, config, real, fake.detach())
    training.discriminator.requires_grad_(False)
    realism = losses.realism_loss(training.discriminator(fake))
    binarization = losses.binarization_loss(alpha)
    fg_weight = config.fg_coverage_weight
    loss = (
        config.adversarial_weight * realism
        + config.binarization_weight * binarization
        + (config.binarization_weight if fg_weight is None else fg_weight)
        * losses.fg_coverage_loss(alpha, config.min_fg_coverage)
        + config.bg_coverage_weight * losses.bg_coverage_loss(alpha, config.min_bg_coverage)
    )
    training.alpha_optim.zero_grad()
    loss.backward()
    training.alpha_optim.step()
    training.step += 1
    keep = 0.5 ** (1 / config.ema_steps) if config.ema_steps else 0.0
    with torch.no_grad():
        pairs = zip(training.average.parameters(), training.alpha.parameters(), strict=True)
        for average, live in pairs:
            average.lerp_(live, 1 - keep)
    coverage = float(alpha.detach().mean())
    training.coverage = [*training.coverage, coverage][-COLLAPSE_STEPS:]
    return StepFacts(
        training.step, d_loss, float(realism.detach()), float(binarization.detach()), coverage
    )


def discriminator_step(
    training: Training,
    config: TrainingPart,
    real: Float[Tensor, "batch 3 h w"],
    fake: Float[Tensor, "batch 3 h w"],
) -> float:
    """Logistic step, and every ``d_reg_interval`` steps a separate R1 step on the reals."""
    discriminator = training.discriminator.requires_grad_(True)
    loss = losses.discriminator_loss(discriminator(real), discriminator(fake))
    training.d_optim.zero_grad()
    loss.backward()
    training.d_optim.step()
    if training.step % config.d_reg_interval == 0:
        real = real.detach().requires_grad_(True)
        logits = discriminator(real)
        lazy_weight = config.r1_gamma / 2 * config.d_reg_interval
        penalty = lazy_weight * losses.r1_penalty(logits, real)
        training.d_optim.zero_grad()
        (penalty + config.real_score_weight * logits[0]).backward()
        training.d_optim.step()
    return float(loss.detach())


def step_stream(seed: int, step: int) -> np.random.RandomState:
    """The one stream of a step: any change of seed or step gives an unrelated one."""
    return np.random.RandomState(np.array([seed, step], dtype=np.uint32))


def train_alpha(
    part: AlphaPart,
    generator: Generator,
    *,
    training: Training,
    watch: Callable[[Training, StepFacts], None] = lambda training, facts: None,
) -> AlphaNetwork:
    """Train to ``training.steps`` from wherever ``training`` stands and return the network.

    Args:
        part: the recipe's alpha part.
        generator: frozen, evaluated where its weights lie.
        training: from ``new_training``, possibly with a loaded state.
        watch: called after every step (logs, snapshots, previews, progress).

    Raises:
        L4FError: the matte is all white or all black at the end.
    """
    reals = REALS[part.training.reals](part.training, generator)
    while training.step < part.training.steps:
        watch(training, train_step(training, part, generator, reals))
    refuse_collapse(training.coverage)
    return training.average.eval()


def refuse_collapse(coverage: list[float]) -> None:
    """Raise when the mean alpha of the last steps says that nothing is separated."""
    if not coverage:
        return
    mean = sum(coverage) / len(coverage)
    if COLLAPSED_BELOW <= mean <= COLLAPSED_ABOVE:
        return
    state, weight = ("all white", "bg") if mean > 0.5 else ("all black", "fg")
    raise L4FError(
        "alpha training",
        f"collapsed: the matte is {state} (mean alpha {mean:.3f})",
        f"raise alpha.training.{weight}_coverage_weight or min_{weight}_coverage in the recipe",
    )
