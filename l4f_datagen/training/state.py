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
from l4f_datagen.training.balance import UNCHANGED, LossBalance, RestartScales
from l4f_datagen.training.precision import new_scaler

RECENT_STEPS = 40
"""Twice the window that ``collapse.diagnose`` looks at."""
ALPHA_LAZY = 4 / 5
"""Lazy regularisation scales learning rate and betas by interval / (interval + 1) (Karras et al.
2020, sec. 3.1); the authors train the alpha network as a generator regularised each 4th step."""


@dataclass(frozen=True)
class StepFacts:
    """What one step measured, for the log.

    Attributes:
        step: 1 for the first.
        d_loss: logistic loss of the discriminator.
        realism: adversarial loss of the alpha network.
        binarization: mean min(alpha, 1 - alpha).
        alpha_coverage: mean alpha of the batch.
        attempt: 1 for the first; a restart after a collapse adds one.
        rest_d_loss: logistic loss of the second discriminator; 0 without one.
        rest_realism: its part of the alpha network's loss; 0 without one.
    """

    step: int
    d_loss: float
    realism: float
    binarization: float
    alpha_coverage: float
    attempt: int = 1
    rest_d_loss: float = 0.0
    rest_realism: float = 0.0


@dataclass
class Learner:
    """A discriminator that learns, with its optimizer and its loss scaler (fp16 alone)."""

    network: Discriminator
    optim: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


@dataclass
class TrainingState:
    """Networks, optimisers and all else that a resumed training needs to go on bit for bit.

    Attributes:
        alpha: the network that learns.
        average: the running average of its weights.
        discriminator: learns against it.
        alpha_optim: of the alpha network.
        d_optim: of the discriminator.
        alpha_scaler: of the alpha network's loss; only fp16 uses it.
        d_scaler: of the discriminator's.
        rest: the second discriminator, with ``balance: two-sided``.
        step: steps done in this attempt.
        balance: what ``balance: auto`` keeps; None before the first step.
        recent: facts of the last steps, newest last.
        snapshots: step -> weights of ``average``, for the choice at the end.
        failures: kinds of collapse, one for each earlier attempt.
    """

    alpha: AlphaNetwork
    average: AlphaNetwork
    discriminator: Discriminator
    alpha_optim: torch.optim.Optimizer
    d_optim: torch.optim.Optimizer
    alpha_scaler: torch.amp.GradScaler
    d_scaler: torch.amp.GradScaler
    rest: Learner | None = None
    step: int = 0
    balance: LossBalance | None = None
    recent: list[StepFacts] = field(default_factory=list)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    STORED = ("alpha", "average", "discriminator", "alpha_optim", "d_optim")
    """Attributes with a state dict."""
    SCALERS = ("alpha_scaler", "d_scaler")

    @property
    def main(self) -> Learner:
        """The discriminator of composites."""
        return Learner(self.discriminator, self.d_optim, self.d_scaler)

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return len(self.failures) + 1

    def note(self, facts: StepFacts) -> None:
        """Keep the facts of a step, of the last steps alone."""
        self.recent = [*self.recent, facts][-RECENT_STEPS:]

    def keep_snapshot(self) -> None:
        """Keep the average's weights of this step for the choice at the end."""
        weights = self.average.state_dict()
        self.snapshots[self.step] = {
            name: value.detach().clone() for name, value in weights.items()
        }

    def save(self, path: Path) -> None:
        """Write the state, staged and renamed; errors as ``save_state``."""
        names = (*self.STORED, *self.SCALERS)
        payload: dict[str, Any] = {name: getattr(self, name).state_dict() for name in names}
        payload |= {
            "step": self.step,
            "balance": asdict(self.balance) if self.balance else None,
            "recent": [asdict(facts) for facts in self.recent],
            "snapshots": self.snapshots,
            "failures": self.failures,
        }
        if self.rest is not None:
            payload["rest"] = {
                name: getattr(self.rest, name).state_dict() for name in vars(self.rest)
            }
        save_state(path, payload)

    def load(self, path: Path) -> None:
        """Continue from a state that ``save`` wrote.

        Raises:
            UsageError: not a state of this training.
        """
        try:
            payload = torch.load(path, weights_only=True, map_location="cpu")
            for name in (*self.STORED, *self.SCALERS):
                getattr(self, name).load_state_dict(payload[name])
            if self.rest is not None:
                for name in vars(self.rest):
                    getattr(self.rest, name).load_state_dict(payload["rest"][name])
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
    """Return an untrained alpha network for this generator.

    Raises:
        UsageError: ``lowest_resolution`` that the generator does not have.
    """
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
    """Build the networks from the recipe's seed.

    Args:
        part: the recipe's alpha part.
        generator: frozen.
        pretrained: the checkpoint's own discriminator, for ``discriminator: pretrained``.
        failures: collapses of earlier attempts; each gives other first weights.
        scales: what the restarts have changed.

    Raises:
        UsageError: the recipe asks for a pretrained discriminator and there is none, or for a
            resolution that the generator does not have.
    """
    config = part.training
    two_sided = config.balance == "two-sided"
    device = generator.w_avg.device
    seed = config.seed
    if failures:
        seed = int(step_stream(config.seed, 0, len(failures) + 1).randint(2**31))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        alpha = build_alpha(part, generator)
        discriminator = Discriminator(generator.spec.resolution, generator.spec.channels)
        average = build_alpha(part, generator).requires_grad_(False)
        side = generator.spec.resolution // 2
        second = Discriminator(side, generator.spec.channels) if two_sided else None
    if config.discriminator == "pretrained":
        if pretrained is None:
            problem = "asks for a pretrained one, but the checkpoint has none"
            remedy = "set alpha.training.discriminator to scratch"
            raise UsageError("alpha.training.discriminator", problem, remedy)
        discriminator = copy.deepcopy(pretrained).requires_grad_(True).train()
    average.load_state_dict(alpha.state_dict())
    for net in (alpha, average, discriminator):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    d_rate = config.learning_rate * scales.d_learning_rate
    d_lazy = config.d_reg_interval / (config.d_reg_interval + 1)
    rest = None
    if second is not None:
        second.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rest = Learner(second, _adam(second, d_rate, d_lazy), new_scaler(config.precision, device))
    return TrainingState(
        alpha,
        average,
        discriminator,
        _adam(alpha, config.learning_rate, ALPHA_LAZY),
        _adam(discriminator, d_rate, d_lazy),
        new_scaler(config.precision, device),
        new_scaler(config.precision, device),
        rest,
        failures=list(failures),
    )


def _adam(net: torch.nn.Module, learning_rate: float, lazy: float) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), learning_rate * lazy, (0.0**lazy, 0.99**lazy))
