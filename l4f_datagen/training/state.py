"""What a training holds between two steps, and its file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.training_folder import save_state
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.training.balance import Forces

RECENT_STEPS = 40


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
    """

    step: int
    d_loss: float
    realism: float
    binarization: float
    alpha_coverage: float
    attempt: int = 1


@dataclass
class Training:
    """Networks, optimisers and all else that a resumed run needs to go on bit for bit.

    Attributes:
        alpha: the network that learns.
        average: the running average of its weights.
        discriminator: learns against it.
        alpha_optim: of the alpha network.
        d_optim: of the discriminator.
        alpha_scaler: of the alpha network's loss; works with fp16 alone.
        d_scaler: of the discriminator's.
        pretrained: the discriminator's first weights, where they are no random ones.
        step: steps done in this attempt.
        forces: what ``balance: auto`` keeps; None before the first step.
        recent: facts of the last steps, newest last.
        snapshots: step -> weights of ``average``, for the choice at the end.
        failures: kinds of collapse, one for every attempt that was given up.
        kept: step of the snapshot that the training ended with.
    """

    alpha: AlphaNetwork
    average: AlphaNetwork
    discriminator: Discriminator
    alpha_optim: torch.optim.Optimizer
    d_optim: torch.optim.Optimizer
    alpha_scaler: torch.amp.GradScaler
    d_scaler: torch.amp.GradScaler
    pretrained: Discriminator | None = None
    step: int = 0
    forces: Forces | None = None
    recent: list[StepFacts] = field(default_factory=list)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    kept: int | None = None

    STATES = ("alpha", "average", "discriminator", "alpha_optim", "d_optim")
    SCALERS = ("alpha_scaler", "d_scaler")

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return len(self.failures) + 1

    def note(self, facts: StepFacts) -> None:
        """Remember the facts of a step, of the last steps alone."""
        self.recent = [*self.recent, facts][-RECENT_STEPS:]

    def keep_snapshot(self) -> None:
        """Keep the average's weights of this step for the choice at the end."""
        weights = self.average.state_dict()
        self.snapshots[self.step] = {
            name: value.detach().clone() for name, value in weights.items()
        }

    def save(self, path: Path) -> None:
        """Write the state, staged and renamed.

        Raises:
            OSError: it cannot be written; nothing is left behind.
        """
        names = (*self.STATES, *self.SCALERS)
        payload: dict[str, Any] = {name: getattr(self, name).state_dict() for name in names}
        payload |= {
            "step": self.step,
            "forces": vars(self.forces) if self.forces else None,
            "recent": [vars(facts) for facts in self.recent],
            "snapshots": self.snapshots,
            "failures": self.failures,
        }
        save_state(path, payload)

    def load(self, path: Path) -> None:
        """Continue from a state that ``save`` wrote.

        Raises:
            UsageError: not a state of this training.
        """
        try:
            payload = torch.load(path, weights_only=True, map_location="cpu")
            for name in self.STATES:
                getattr(self, name).load_state_dict(payload[name])
            for name in self.SCALERS:  # older files have none, and fp32 needs none
                getattr(self, name).load_state_dict(payload.get(name, {}))
            self.step, forces = int(payload["step"]), payload["forces"]
            self.forces = Forces(**forces) if forces else None
            self.recent = [StepFacts(**facts) for facts in payload["recent"]]
            self.snapshots = dict(payload["snapshots"])
            self.failures = [str(kind) for kind in payload["failures"]]
        except Exception as error:
            problem = f"is not a training state of this recipe ({type(error).__name__})"
            raise UsageError(str(path), problem, "use another --out or remove the file") from error
