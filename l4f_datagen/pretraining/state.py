"""The state of a pretraining: networks, optimizers, and all that a resumed run needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, GeneratorSpec, estimate_w_avg
from l4f_datagen.models.layers import ToRGB
from l4f_datagen.pretraining.augmentation import AdaptiveP
from l4f_datagen.pretraining.plan import PretrainPlan, small_channels
from l4f_datagen.training.precision import new_scaler

STATEFUL = ("generator", "discriminator", "g_ema", "g_optim", "d_optim", "g_scaler", "d_scaler")
Z_DIM, W_DIM, MAPPING_LAYERS = 128, 128, 4
"""Of a small generator, as of the toys'."""


@dataclass(frozen=True)
class Start:
    """The networks a run starts from; the discriminator may be missing."""

    spec: GeneratorSpec
    generator: Mapping[str, Tensor]
    discriminator: Mapping[str, Tensor] | None
    sha256: str


@dataclass
class PretrainState:
    """Everything a resumed run needs.

    Attributes:
        best: smallest distance so far.
        stale: snapshots since then.
        stalled_at: step at which the distance had stopped falling; None before.
    """

    generator: Generator
    discriminator: Discriminator
    g_ema: Generator
    g_optim: torch.optim.Adam
    d_optim: torch.optim.Adam
    g_scaler: torch.amp.GradScaler
    d_scaler: torch.amp.GradScaler
    ada: AdaptiveP = field(default_factory=AdaptiveP)
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    stale: int = 0
    stalled_at: int | None = None

    def decay_from(self, plan: PretrainPlan) -> int:
        """Step at which the learning rate begins to fall: near the end, or after a stall."""
        planned = plan.steps(plan.kimg) - plan.steps(plan.decay_kimg)
        if self.stalled_at is None or not plan.patience:
            return planned
        return min(planned, self.stalled_at)

    def end(self, plan: PretrainPlan) -> int:
        """Step at which the run ends, as far as is known."""
        return min(plan.steps(plan.kimg), self.decay_from(plan) + plan.steps(plan.decay_kimg))

    def update_w_avg(self) -> None:
        """Estimate the mean of w of the averaged generator anew."""
        self.g_ema.w_avg.copy_(estimate_w_avg(self.g_ema.mapping, self.g_ema.spec.z_dim))

    def save(self, path: Path) -> None:
        """Write the resume file; a crash leaves the last one.

        Raises:
            OSError: it cannot be written.
        """
        self.update_w_avg()
        payload: dict[str, Any] = {name: getattr(self, name).state_dict() for name in STATEFUL}
        payload |= {"ada": asdict(self.ada), "step": self.step, "seconds": self.seconds}
        payload |= {"best": self.best, "stale": self.stale, "stalled_at": self.stalled_at}
        save_state(path, payload)

    def load(self, path: Path) -> None:
        """Go on from a resume file.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            payload = torch.load(path, weights_only=True, map_location=self.g_ema.w_avg.device)
            for name in STATEFUL:
                getattr(self, name).load_state_dict(payload[name])
            self.ada = AdaptiveP(**payload["ada"])
            self.step, self.seconds = payload["step"], payload["seconds"]
            self.best, self.stale = payload["best"], payload["stale"]
            self.stalled_at = payload["stalled_at"]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
            problem = f"cannot be read ({type(error).__name__})"
            raise UsageError(str(path), problem, "remove it to begin this run anew") from error


def open_start(generator: Path, discriminator: Path | None) -> Start:
    """Open the checkpoint a run starts from, any the tool opens.

    Args:
        generator: its file.
        discriminator: file of the discriminator; None: looked for in the generator's own file,
            and where it is not there, drawn anew.

    Raises:
        CheckpointRefused: a file that cannot be used.
    """
    opened = open_generator(generator)
    network = opened.build()
    judge = None
    try:
        found = open_discriminator(discriminator or generator)
        judge = found.build().state_dict()
    except CheckpointRefused:
        if discriminator is not None:
            raise
    return Start(network.spec, network.state_dict(), judge, opened.fingerprint)


def grown_spec(start: Start, resolution: int) -> GeneratorSpec:
    """Return the start's shape at the run's resolution: the same, or one doubling above.

    Raises:
        UsageError: it is larger, or more than one doubling smaller.
    """
    spec = start.spec
    if resolution not in (spec.resolution, 2 * spec.resolution):
        problem = f"draws {spec.resolution} px, the run asks for {resolution} px"
        remedy = f"take --resolution {spec.resolution} or {2 * spec.resolution}"
        raise UsageError("--start", problem, remedy)
    if resolution == spec.resolution:
        return spec
    channels = dict(spec.channels) | {resolution: max(16, spec.channels[spec.resolution] // 2)}
    return GeneratorSpec(
        resolution, channels, z_dim=spec.z_dim, w_dim=spec.w_dim,
        mapping_layers=spec.mapping_layers, conv_clamp=spec.conv_clamp,
    )  # fmt: skip


def new_state(
    plan: PretrainPlan, start: Start | None = None, device: torch.device | None = None
) -> PretrainState:
    """Build networks and optimizers from the plan's seed and from what the run starts from.

    Raises:
        UsageError: the start has another shape.
    """
    if start is None:
        spec = GeneratorSpec(
            plan.resolution, small_channels(plan.resolution), z_dim=Z_DIM, w_dim=W_DIM,
            mapping_layers=MAPPING_LAYERS,
        )  # fmt: skip
    else:
        spec = grown_spec(start, plan.resolution)
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        generator = Generator(spec)
        discriminator = Discriminator(spec.resolution, spec.channels)
    if start is not None:
        _take_over(generator, start.generator)
        grown = spec.resolution > start.spec.resolution
        if grown:
            # The new resolution adds nothing at first, so that the run starts from its images.
            torgb = generator.synthesis.get_submodule(f"b{spec.resolution}.torgb")
            assert isinstance(torgb, ToRGB)
            torch.nn.init.zeros_(torgb.weight)
        if start.discriminator is not None:
            judge = shifted(start.discriminator) if grown else start.discriminator
            _take_over(discriminator, judge)
    g_ema = Generator(spec)
    g_ema.load_state_dict(generator.state_dict())
    for net in (generator, discriminator, g_ema):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    betas = (0.0, 0.99)
    return PretrainState(
        generator,
        discriminator,
        g_ema.requires_grad_(False).eval(),
        torch.optim.Adam(generator.parameters(), plan.learning_rate, betas),
        torch.optim.Adam(discriminator.parameters(), plan.learning_rate, betas),
        new_scaler(plan.precision, device),
        new_scaler(plan.precision, device),
    )


def shifted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a discriminator's blocks by one, for one more in front; ``from_rgb`` is left out."""
    renamed = {}
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head == "blocks":
            number, _, rest = rest.partition(".")
            renamed[f"blocks.{int(number) + 1}.{rest}"] = value
        elif head != "from_rgb":
            renamed[key] = value
    return renamed


def _take_over(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    same = {key: value for key, value in state.items() if key in own}
    wrong = [key for key, value in same.items() if value.shape != own[key].shape]
    if wrong:
        raise UsageError("--start", f"has another shape ({wrong[0]})", "take another start")
    network.load_state_dict(own | {key: value.clone() for key, value in same.items()})
