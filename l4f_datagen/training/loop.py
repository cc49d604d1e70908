"""The loop that trains an alpha network without labels (Labels4Free, sec. 3.3).

Each step: the frozen generator makes foregrounds (truncated) and, from the same z with its trunk
muted, backgrounds; the alpha network composites them; a discriminator that has seen few steps
compares composites with real images. Every random number is a function of (seed, attempt, step),
so a resumed training continues bit for bit. A collapse is answered by a restart with a changed
setting; of the snapshots, the one that scores best without labels is kept, and learns from its own
masks (``self_training``).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart, TrainingPart
from l4f_datagen.training.balance import coverage_range
from l4f_datagen.training.collapse import (
    KINDS,
    LARGE,
    LARGER,
    SMALLER,
    collapsed,
    diagnose,
    is_measured,
    scales_after,
)
from l4f_datagen.training.object_size import CoverageRange
from l4f_datagen.training.ranks import ALONE, Ranks
from l4f_datagen.training.selection import Score, best_of, score_snapshots
from l4f_datagen.training.self_training import centred, parted, self_train
from l4f_datagen.training.sources import Sources
from l4f_datagen.training.state import StepFacts, TrainingState, new_state
from l4f_datagen.training.steps import StepContext, train_step

logger = logging.getLogger(__name__)

HALF = 0.5
"""With this limit or a lower one, mattes part at 0.5 by themselves."""
Watch = Callable[[TrainingState, StepFacts], None]
"""Called after every step: log, snapshots, previews, progress."""


class AlphaTrainer:
    """A training, from its first step or from a loaded state.

    Args:
        part: the recipe's alpha part.
        generator: frozen, evaluated where its weights lie.
        sources: of reals and backgrounds.
        pretrained: the checkpoint's own discriminator, for ``discriminator: pretrained``.
        ranks: the processes that train on the joint batch.

    Attributes:
        state: where the training stands; a restart puts another in its place.
        kept_step: step of the snapshot that ``run`` returned.
        scores: of the snapshots by step, where ``run`` has chosen by them.
        agreements: of each round of self-training, the IoU of its masks before and after the cut.

    Raises:
        UsageError: as ``new_state``.
    """

    def __init__(
        self,
        part: AlphaPart,
        generator: Generator,
        sources: Sources,
        *,
        pretrained: Discriminator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.part, self.generator, self.sources = part, generator, sources
        self.pretrained, self.ranks = pretrained, ranks
        self.state = new_state(part, generator, pretrained)
        self.kept_step: int | None = None
        self.scores: dict[int, Score] = {}
        self.agreements: list[float] = []
        self._log_level = logging.INFO if ranks.leads else logging.DEBUG

    @cached_property
    def coverage(self) -> CoverageRange:
        """The limits of mean alpha."""
        return coverage_range(self.part, self.generator)

    def context(self) -> StepContext:
        """Return what the steps of this attempt share."""
        scales = scales_after(self.state.failures)
        return StepContext(
            self.part, self.generator, self.sources, self.coverage, scales, self.ranks
        )

    def run(self, watch: Watch = lambda state, facts: None) -> AlphaNetwork:
        """Train to ``training.steps`` and return the network, in eval mode.

        Raises:
            Collapsed: the training collapsed in every attempt; the last failure in words.
        """
        config, coverage = self.part.training, self.coverage
        if config.balance == "auto":
            self._log(
                f"the object covers about {coverage.share:.2f} of the generator's images; "
                f"mean alpha may lie from {coverage.lower:.2f} to {coverage.upper:.2f}"
            )
        context = self.context()
        while True:
            # Before the first step too: a resumed training may have stopped at a collapse.
            failure = diagnose(self.state.recent, coverage, config)
            if failure:
                self._restart(failure)
                context = self.context()
                continue
            if self.state.step >= config.steps:
                size = self._measure()
                if size is None:
                    break
                self._restart(size)
                context = self.context()
                continue
            facts = train_step(self.state, context)
            if is_snapshot(config, self.state.step):
                self.state.keep_snapshot()
            watch(self.state, facts)
        self.kept_step = self.state.step
        if config.keep == "best":
            self.scores = score_snapshots(self.state, context)
            self.kept_step = best_of(self.scores)
            self._log(
                f"keeping the snapshot of step {self.kept_step}, {self.scores[self.kept_step]}"
            )
            self.state.average.load_state_dict(self.state.snapshots[self.kept_step])
        chosen = self.state.average.eval()
        if config.balance == "two-sided" and self.upper_limit > HALF:
            chosen = centred(chosen, self.part, self.generator)
        if not config.self_training:
            return chosen
        # Short, and a function of the seed: every rank repeats it, and a stopped one begins anew.
        chosen, self.agreements = self_train(
            chosen, self.part, self.generator, config.self_training, self._log
        )
        return chosen

    @property
    def upper_limit(self) -> float:
        """The largest mean alpha that this attempt allows an image."""
        return self.coverage.upper * scales_after(self.state.failures).coverage_limit

    def _measure(self) -> str | None:
        """Name the object's size, as parted at the widest limit; None where the training ends."""
        config, failures = self.part.training, self.state.failures
        asked = config.balance == "two-sided" and config.min_bg_coverage is None
        if not asked or is_measured(failures):
            return None
        if failures[-1:] == [LARGER]:
            return LARGER
        _, covered = parted(self.state.average.eval(), self.part, self.generator)
        self._log(f"the object covers about {covered:.2f} of the image")
        return SMALLER if covered < LARGE else LARGER

    def _restart(self, failure: str) -> None:
        """Start again with a changed setting, from the mattes so far where an object is large.

        Raises:
            Collapsed: this was the last attempt.
        """
        config, kind = self.part.training, KINDS[failure]
        failures = (*self.state.failures, failure)
        collapses = [name for name in failures if name not in (SMALLER, LARGER)]
        if len(collapses) >= config.attempts:
            coverage = self.state.recent[-1].alpha_coverage
            raise collapsed(collapses, coverage, photographs=config.reals_folder)
        setting = kind.setting.replace("_", " ")
        self._log(
            f"{kind.words} at step {self.state.step}; "
            f"{'going on' if failure == LARGER else 'starting again'} "
            f"with {setting} x {kind.factor:g}"
        )
        if failure == LARGER:
            self._go_on(failures)
            return
        self.state = new_state(
            self.part,
            self.generator,
            self.pretrained,
            failures=failures,
            scales=scales_after(failures),
        )

    def _go_on(self, failures: tuple[str, ...]) -> None:
        """Begin the next attempt with these networks, their mattes parted at 0.5."""
        state = self.state
        mattes = centred(state.average.eval(), self.part, self.generator).state_dict()
        state.alpha.load_state_dict(mattes)
        state.average.load_state_dict(mattes)
        self.state = replace(state, step=0, recent=[], snapshots={}, failures=list(failures))

    def _log(self, message: str) -> None:
        logger.log(self._log_level, "alpha training: %s", message)


def is_snapshot(config: TrainingPart, step: int) -> bool:
    """Whether a step ends with a snapshot: every ``snapshot_interval`` and the last."""
    return step % config.snapshot_interval == 0 or step == config.steps
