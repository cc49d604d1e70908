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
from l4f_datagen.training import collapse
from l4f_datagen.training.hardware import ALONE, Ranks
from l4f_datagen.training.object_size import CoverageRange, coverage_range
from l4f_datagen.training.selection import Score, score_snapshots
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
    """A training, from its first step or from a loaded ``state``; a restart puts another there.

    ``pretrained`` is the checkpoint's own discriminator, for ``discriminator: pretrained``; errors
    as ``new_state``.
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
        # What ``run`` has done: the step of its snapshot, the scores it chose by, and of each round
        # of self-training the IoU of its masks before and after the cut.
        self.kept_step: int | None = None
        self.scores: dict[int, Score] = {}
        self.agreements: list[float] = []

    @cached_property
    def coverage(self) -> CoverageRange:
        """The limits of mean alpha."""
        return coverage_range(self.part, self.generator)

    def context(self) -> StepContext:
        """Return what the steps of this attempt share."""
        scales = collapse.scales_after(self.state.failures)
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
            failure = collapse.diagnose(self.state.recent, coverage, config)
            if not failure and self.state.step >= config.steps:
                failure = self._size()
                if not failure:
                    break
            if failure:
                self._restart(failure)
                context = self.context()
                continue
            facts = train_step(self.state, context)
            if is_snapshot(config, self.state.step):
                self.state.keep_snapshot()
            watch(self.state, facts)
        self.kept_step = self.state.step
        if config.keep == "best":
            scores = self.scores = score_snapshots(self.state, context)
            # The later one of equals.
            self.kept_step = max(scores, key=lambda step: (scores[step].total, step))
            self._log(f"keeping the snapshot of step {self.kept_step}, {scores[self.kept_step]}")
            self.state.average.load_state_dict(self.state.snapshots[self.kept_step])
        chosen = self.state.average.eval()
        limit = coverage.upper * context.scales.coverage_limit
        if config.balance == "two-sided" and limit > HALF:
            chosen = centred(chosen, self.part, self.generator)
        if config.self_training:
            # Short, and a function of the seed: every rank repeats it, a stopped one begins anew.
            chosen, self.agreements = self_train(
                chosen, self.part, self.generator, config.self_training, self._log
            )
        return chosen

    def _size(self) -> str | None:
        """Name the attempt that follows by the object's size; None where the training ends."""
        config = self.part.training
        if config.balance != "two-sided" or config.min_bg_coverage is not None:
            return None

        def measure() -> float:
            _, covered = parted(self.state.average.eval(), self.part, self.generator)
            self._log(f"the object covers about {covered:.2f} of the image")
            return covered

        return collapse.size_after(self.state.failures, measure)

    def _restart(self, failure: str) -> None:
        """Begin the next attempt; ``Collapsed`` where this was the last."""
        config, state, kind = self.part.training, self.state, collapse.KINDS[failure]
        failures, coverage = (*state.failures, failure), state.recent[-1].alpha_coverage
        collapse.check_attempts(failures, config.attempts, coverage, config.reals_folder)
        begins = "going on" if kind.goes_on else "starting again"
        change = f"{kind.setting.replace('_', ' ')} x {kind.factor:g}"
        self._log(f"{kind.words} at step {state.step}; {begins} with {change}")
        if kind.goes_on:
            mattes = centred(state.average.eval(), self.part, self.generator).state_dict()
            for network in (state.alpha, state.average):
                network.load_state_dict(mattes)
            self.state = replace(state, step=0, recent=[], snapshots={}, failures=list(failures))
            return
        scales = collapse.scales_after(failures)
        self.state = new_state(
            self.part, self.generator, self.pretrained, failures=failures, scales=scales
        )

    def _log(self, message: str) -> None:
        level = logging.INFO if self.ranks.leads else logging.DEBUG
        logger.log(level, "alpha training: %s", message)


def is_snapshot(config: TrainingPart, step: int) -> bool:
    """Whether a step ends with a snapshot: every ``snapshot_interval`` and the last."""
    return step % config.snapshot_interval == 0 or step == config.steps
