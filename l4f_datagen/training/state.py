"""What a training holds between two steps: how it starts, and its file."""

import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.training.hardware import new_scaler
from l4f_datagen.training.losses import UNCHANGED, LossBalance, RestartScales

RECENT_STEPS = 40
"""Twice the window that ``collapse.diagnose`` looks at."""
ALPHA_LAZY = 4 / 5
"""Lazy regularisation scales learning rate and betas by interval / (interval + 1) (Karras et al.
2020, sec. 3.1); the authors train the alpha network as a generator regularised each 4th step."""


@dataclass(frozen=True)
class StepFacts:
    """What one step measured, for the log."""

    step: int  # 1 for the first
    d_loss: float  # logistic loss of the discriminator
    realism: float  # adversarial loss of the alpha network
    binarization: float  # mean min(alpha, 1 - alpha)
    alpha_coverage: float  # mean alpha of the batch
    attempt: int = 1  # a restart adds one
    rest_d_loss: float = 0.0  # logistic loss of the second discriminator; 0 without one
    rest_realism: float = 0.0  # its part of the alpha network's loss; 0 without one


@dataclass
class Learner:
    """A discriminator that learns, with its optimizer and its loss scaler (fp16 alone)."""

    network: Discriminator
    optim: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


@dataclass
class TrainingState:
    """Networks, optimisers and all else that a resumed training needs to go on bit for bit."""

    alpha: AlphaNetwork  # learns
    average: AlphaNetwork  # the running average of its weights
    alpha_optim: torch.optim.Optimizer
    alpha_scaler: torch.amp.GradScaler  # only fp16 uses it
    main: Learner  # the discriminator of composites
    rest: Learner | None  # the second one, with ``balance: two-sided``
    step: int = 0  # steps done in this attempt
    balance: LossBalance | None = None  # None before the first step
    recent: list[StepFacts] = field(default_factory=list)  # of the last steps, newest last
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)  # of ``average``, by step
    failures: list[str] = field(default_factory=list)  # why each earlier attempt ended

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return len(self.failures) + 1

    def keep_snapshot(self) -> None:
        """Keep the average's weights of this step for the choice at the end."""
        weights = self.average.state_dict()
        self.snapshots[self.step] = {name: value.clone() for name, value in weights.items()}

    def stored(self) -> dict[str, Any]:
        """Return all that has a state dict, by its name in the file."""
        found = {
            "alpha": self.alpha,
            "average": self.average,
            "discriminator": self.main.network,
            "alpha_optim": self.alpha_optim,
            "d_optim": self.main.optim,
            "alpha_scaler": self.alpha_scaler,
            "d_scaler": self.main.scaler,
        }
        rest = vars(self.rest) if self.rest else {}
        return found | {f"rest.{name}": value for name, value in rest.items()}

    def save(self, path: Path) -> None:
        """Write the state, staged and renamed; errors as ``save_state``."""
        payload = {name: value.state_dict() for name, value in self.stored().items()}
        recent = [asdict(facts) for facts in self.recent]
        balance = asdict(self.balance) if self.balance else None
        payload |= {"step": self.step, "balance": balance, "recent": recent}
        save_state(path, payload | {"snapshots": self.snapshots, "failures": self.failures})

    def load(self, path: Path) -> None:
        """Continue from a state that ``save`` wrote.

        Raises:
            UsageError: not a state of this training.
        """
        try:
            payload = torch.load(path, weights_only=True, map_location="cpu")
            # Files of older versions hold the second discriminator's parts in a dict of their own.
            payload |= {f"rest.{name}": part for name, part in payload.pop("rest", {}).items()}
            for name, value in self.stored().items():
                value.load_state_dict(payload[name])
            self.step, balance = int(payload["step"]), payload["balance"]
            self.balance = LossBalance(**balance) if balance else None
            self.recent = [StepFacts(**facts) for facts in payload["recent"]]
            self.snapshots = dict(payload["snapshots"])
            self.failures = [str(kind) for kind in payload["failures"]]
        except Exception as error:  # torch raises many kinds on a damaged file
            problem = f"is not a training state of this recipe ({type(error).__name__})"
            raise UsageError(str(path), problem, "use another --out or remove the file") from error


def step_stream(seed: int, step: int, attempt: int = 1) -> np.random.RandomState:
    """Return the one stream of a step: another seed, step or attempt gives an unrelated one."""
    words = [seed, step] if attempt == 1 else [seed, step, attempt]
    return np.random.RandomState(np.array(words, dtype=np.uint32))


def build_alpha(part: AlphaPart, generator: Generator) -> AlphaNetwork:
    """Return an untrained alpha network; UsageError for a resolution that the generator lacks."""
    resolutions = alpha_resolutions(generator.spec.resolution)
    if part.lowest_resolution is not None:
        trunk = generator.spec.resolutions[1:]
        if part.lowest_resolution not in trunk:
            known = ", ".join(map(str, trunk))
            problem = f"must be one of {known}, got {part.lowest_resolution}"
            raise UsageError("alpha.lowest_resolution", problem, "name a resolution of the trunk")
        resolutions = [r for r in trunk if r >= part.lowest_resolution]
    return AlphaNetwork(generator.spec.channels, resolutions)


def new_state(
    part: AlphaPart,
    generator: Generator,
    pretrained: Discriminator | None = None,
    *,
    failures: tuple[str, ...] = (),
    scales: RestartScales = UNCHANGED,
) -> TrainingState:
    """Build the networks from the recipe's seed; ``failures`` each give other first weights.

    ``pretrained`` is the checkpoint's own discriminator, for ``discriminator: pretrained``;
    ``scales`` are what restarts have changed.

    Raises:
        UsageError: the recipe asks for a pretrained discriminator and there is none, or for a
            resolution that the generator does not have.
    """
    config, device = part.training, generator.w_avg.device
    seed, side, channels = config.seed, generator.spec.resolution, generator.spec.channels
    if failures:
        seed = int(step_stream(config.seed, 0, len(failures) + 1).randint(2**31))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        alpha = build_alpha(part, generator)
        discriminator = Discriminator(side, channels)
        average = build_alpha(part, generator).requires_grad_(False)
        second = Discriminator(side // 2, channels) if config.balance == "two-sided" else None
    if config.discriminator == "pretrained":
        if pretrained is None:
            problem = "asks for a pretrained one, but the checkpoint has none"
            remedy = "set alpha.training.discriminator to scratch"
            raise UsageError("alpha.training.discriminator", problem, remedy)
        discriminator = copy.deepcopy(pretrained).requires_grad_(True).train()
    average.load_state_dict(alpha.state_dict())
    for net in filter(None, (alpha, average, discriminator, second)):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def adam(net: torch.nn.Module, rate: float, lazy: float) -> torch.optim.Adam:
        return torch.optim.Adam(net.parameters(), rate * lazy, (0.0**lazy, 0.99**lazy))

    def learner(net: Discriminator) -> Learner:
        lazy = config.d_reg_interval / (config.d_reg_interval + 1)
        optim = adam(net, config.learning_rate * scales.d_learning_rate, lazy)
        return Learner(net, optim, new_scaler(config.precision, device))

    return TrainingState(
        alpha,
        average,
        adam(alpha, config.learning_rate, ALPHA_LAZY),
        new_scaler(config.precision, device),
        main=learner(discriminator),
        rest=learner(second) if second else None,
        failures=list(failures),
    )
