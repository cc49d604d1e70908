"""A pretraining run: its plan, and all it needs to go on after a stop."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from l4f_datagen.checkpoints.open import open_discriminator, open_generator
from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.models.mapping import estimate_w_avg
from l4f_datagen.models.spec import GeneratorSpec
from l4f_datagen.recipe.domains import BUILTIN, weights_path
from l4f_datagen.toys.scene import TOYS

CHANNELS = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32}
STATEFUL = ("generator", "discriminator", "g_ema", "g_optim", "d_optim")


@dataclass(frozen=True)
class PretrainPlan:
    """What fixes the run.

    Attributes:
        domain: whose renders are learnt, a key of ``TOYS``.
        start: shipped weights both networks start from, a key of ``BUILTIN``; None: from noise.
        seed: of weights, latents and data order.
        kimg: thousand real images shown.
        scenes: number of rendered training scenes (each also mirrored).
        batch: images a step.
        learning_rate: of Adam (0, 0.99) for both networks.
        decay_kimg: over the last so many kimg the learning rate falls linearly to zero.
        r1_gamma: weight of the gradient penalty (lazy, every ``r1_interval`` steps).
        r1_interval: steps between two penalties.
        style_mixing_prob: share of batches whose w changes at a random layer.
        ema_kimg: half-life of the averaged generator.
        snapshot_kimg: distance between two snapshots.
        distance_samples: samples and renders in the Fréchet distance.
    """

    domain: str = "toy-cars"
    start: str | None = None
    seed: int = 0
    kimg: float = 130
    scenes: int = 30_000
    batch: int = 16
    learning_rate: float = 2e-3
    decay_kimg: float = 30
    r1_gamma: float = 1.0
    r1_interval: int = 16
    style_mixing_prob: float = 0.9
    ema_kimg: float = 5.0
    snapshot_kimg: float = 10
    distance_samples: int = 5000

    @property
    def identity(self) -> str:
        """Name of the run, however long it is to be."""
        named = {k: v for k, v in asdict(self).items() if k not in ("kimg", "decay_kimg")}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            UsageError: no such domain, or no such weights to start from.
        """
        known = ", ".join(TOYS)
        if self.domain not in TOYS:
            raise UsageError("domain", f"no toy domain {self.domain!r}", f"choose from {known}")
        if self.start is not None and self.start not in BUILTIN:
            known = ", ".join(BUILTIN)
            raise UsageError("start", f"no shipped weights {self.start!r}", f"choose from {known}")


@dataclass
class TrainState:
    """Everything a resumed run needs."""

    generator: Generator
    discriminator: Discriminator
    g_ema: Generator
    g_optim: torch.optim.Adam
    d_optim: torch.optim.Adam
    step: int
    seconds: float


def new_state(plan: PretrainPlan) -> TrainState:
    """Build both networks and their optimisers from the plan's seed and its ``start``."""
    torch.manual_seed(plan.seed)
    spec = GeneratorSpec(64, CHANNELS, z_dim=128, w_dim=128, mapping_layers=4)
    nets = (Generator(spec), Discriminator(64, CHANNELS), Generator(spec))
    for net in nets:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, discriminator, g_ema = nets
    if plan.start:
        started = open_generator(weights_path(f"builtin:{plan.start}", "generator")).build()
        generator.load_state_dict(started.state_dict())
        judge = open_discriminator(weights_path(f"builtin:{plan.start}", "discriminator")).build()
        discriminator.load_state_dict(judge.state_dict())
    g_ema.load_state_dict(generator.state_dict())
    betas = (0.0, 0.99)
    return TrainState(
        generator,
        discriminator,
        g_ema.requires_grad_(False),
        torch.optim.Adam(generator.parameters(), plan.learning_rate, betas),
        torch.optim.Adam(discriminator.parameters(), plan.learning_rate, betas),
        step=0,
        seconds=0.0,
    )


def save(state: TrainState, out: Path) -> None:
    """Write the resume file; staged and renamed, so that a crash leaves the last one."""
    state.g_ema.w_avg.copy_(estimate_w_avg(state.g_ema.mapping, state.g_ema.spec.z_dim))
    payload: dict[str, Any] = {name: getattr(state, name).state_dict() for name in STATEFUL}
    payload |= {"step": state.step, "seconds": state.seconds}
    save_state(out / "state.pt", payload)


def resume(state: TrainState, out: Path) -> None:
    """Load the resume file when there is one."""
    if not (out / "state.pt").exists():
        return
    payload = torch.load(out / "state.pt", weights_only=True)
    for name in STATEFUL:
        getattr(state, name).load_state_dict(payload[name])
    state.step, state.seconds = payload["step"], payload["seconds"]
