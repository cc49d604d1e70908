"""The state of a pretraining: networks, optimizers, and all that a resumed run needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l4f_datagen.checkpoints.native import fingerprint
from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, GeneratorSpec, estimate_w_avg
from l4f_datagen.models.layers import ToRGB
from l4f_datagen.pretraining.augmentation import AdaptiveP
from l4f_datagen.pretraining.plan import PretrainPlan
from l4f_datagen.training.hardware import new_scaler

STATEFUL = ("generator", "discriminator", "g_ema", "g_optim", "d_optim", "g_scaler", "d_scaler")
NUMBERS = ("step", "seconds", "best", "stale", "stalled_at")
SMALL_CHANNELS = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32}
"""Of the generators that ship, 1.1 million weights: what two CPU cores can train in an evening.
At every doubling above, a small generator is half as wide, at least 16."""
Z_DIM, W_DIM, MAPPING_LAYERS = 128, 128, 4  # of a small generator, as of the toys'


@dataclass(frozen=True)
class Start:
    """The networks a run starts from; the discriminator may be missing."""

    spec: GeneratorSpec
    generator: Mapping[str, Tensor]
    discriminator: Mapping[str, Tensor] | None
    name: str  # fingerprints of both, for ``PretrainPlan.start``


@dataclass
class PretrainState:
    """Everything a resumed run needs."""

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
    best: float = float("inf")  # smallest distance so far
    stale: int = 0  # snapshots since then
    stalled_at: int | None = None  # step at which the distance had stopped falling; None before

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
        """Write the resume file; errors as ``save_state``."""
        self.update_w_avg()
        payload: dict[str, Any] = {name: getattr(self, name).state_dict() for name in STATEFUL}
        payload |= {name: getattr(self, name) for name in NUMBERS}
        save_state(path, payload | {"ada": asdict(self.ada)})

    def load(self, path: Path) -> None:
        """Go on from a resume file; UsageError where it cannot be read."""
        try:
            payload = torch.load(path, weights_only=True, map_location=self.g_ema.w_avg.device)
            for name in STATEFUL:
                getattr(self, name).load_state_dict(payload[name])
            for name in NUMBERS:
                setattr(self, name, payload[name])
            self.ada = AdaptiveP(**payload["ada"])
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
            problem = f"cannot be read ({type(error).__name__})"
            raise UsageError(str(path), problem, "remove it to begin this run anew") from error


def open_start(generator: Path, discriminator: Path | None) -> Start:
    """Open the checkpoint a run starts from, any the tool opens; CheckpointRefused for others.

    Without the file of a ``discriminator`` it is looked for in the generator's own, and where it is
    not there, drawn anew.
    """
    opened, judge = open_generator(generator), None
    name = opened.fingerprint
    try:
        judge = open_discriminator(discriminator or generator).build().state_dict()
        name += f" {fingerprint(judge)}"
    except CheckpointRefused:
        if discriminator is not None:
            raise
    return Start(opened.spec, opened.build().state_dict(), judge, name)


def new_state(
    plan: PretrainPlan, start: Start | None = None, device: torch.device | None = None
) -> PretrainState:
    """Build networks and optimizers from the plan's seed and from what the run starts from.

    A start has the run's resolution, or half of it; UsageError for another shape.
    """
    side, grown = plan.resolution, False
    if start is None:
        sides = [2**k for k in range(2, side.bit_length())]
        channels = {side: SMALL_CHANNELS.get(side, max(16, 2048 // side)) for side in sides}
        spec = GeneratorSpec(side, channels, Z_DIM, W_DIM, MAPPING_LAYERS)
    else:
        spec, own = start.spec, start.spec.resolution
        if side not in (own, 2 * own):
            problem = f"draws {own} px, the run asks for {side} px"
            raise UsageError("--start", problem, f"take --resolution {own} or {2 * own}")
        if grown := side > own:
            channels = {**spec.channels, side: max(16, spec.channels[own] // 2)}
            spec = replace(spec, resolution=side, channels=channels)
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        generator = Generator(spec)
        discriminator = Discriminator(spec.resolution, spec.channels)
    if start is not None:
        _take_over(generator, start.generator)
        if grown:
            # The new resolution adds nothing at first, so that the run starts from its images.
            torgb = generator.synthesis.get_submodule(f"b{side}.torgb")
            assert isinstance(torgb, ToRGB)
            torch.nn.init.zeros_(torgb.weight)
        if start.discriminator is not None:
            judge = shifted(start.discriminator) if grown else start.discriminator
            _take_over(discriminator, judge)
    g_ema = Generator(spec)
    g_ema.load_state_dict(generator.state_dict())
    for net in (generator, discriminator, g_ema):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    g_ema.requires_grad_(False).eval()

    def adam(network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), plan.learning_rate, (0.0, 0.99))

    optims = adam(generator), adam(discriminator)
    scalers = new_scaler(plan.precision, device), new_scaler(plan.precision, device)
    return PretrainState(generator, discriminator, g_ema, *optims, *scalers)


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
