"""A training as a folder: state, snapshots, log, and at its end the network with a verdict.

```
alpha.safetensors            the network, with the recipe's training part and the verdict
snapshot-000050.safetensors  the average at that step
preview-000050.png           the same images at every snapshot
preview-final.png            and by the network that is kept
log.jsonl, curves.png        what every step measured
state.pt                     what a stopped training goes on from
training-id, lock            whose folder it is, and whether a process trains in it
```
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import (
    GeneratorCheckpoint,
    discriminator_beside,
    open_alpha,
    open_own_discriminator,
)
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.io.training_folder import claim_folder, hold_folder, is_claimed
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.devices import choose_device, flush_denormals
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.recipe import AlphaPart, Recipe, TrainingPart
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.identity import training_id
from l4f_datagen.training.logger import TrainingLogger
from l4f_datagen.training.loop import AlphaTrainer, is_snapshot
from l4f_datagen.training.ranks import Ranks, join_ranks
from l4f_datagen.training.sources import SourceContext, open_sources
from l4f_datagen.training.state import StepFacts, TrainingState
from l4f_datagen.training.verdict import Verdict, judge_alpha, read_verdict

logger = logging.getLogger(__name__)

RESULT = "alpha.safetensors"
COLLAPSED = "collapsed.safetensors"
"""The network as a training left it that collapsed in every attempt."""
MUTES: dict[str, Mute] = {"conv1": "conv1", "const": "const"}
"""Backgrounds that the generator itself draws, by how it is muted."""
OTHER = "holds the training of another recipe or generator, or on other images"


@dataclass(frozen=True)
class TrainedAlpha:
    """What a training gave.

    Attributes:
        path: the network's file.
        verdict: whether it is good enough to label with; None in files of older versions.
    """

    path: Path
    verdict: Verdict | None


def train_alpha(
    recipe: Recipe,
    checkpoint: GeneratorCheckpoint,
    out: Path,
    *,
    generator: Generator | None = None,
    device: str = "auto",
    keep_states: bool = False,
    resume_at: int | None = None,
    offline: bool = False,
) -> TrainedAlpha:
    """Train the alpha network of a recipe without labels (Labels4Free), or resume what stopped.

    One process at a time trains in a folder; a later one waits and takes the trained network. Under
    ``torchrun`` all processes train on the joint batch and the first writes.

    Args:
        recipe: its parts ``alpha``, ``generator.crop`` and ``output.mask_threshold`` are used.
        checkpoint: the generator, from ``open_generator``.
        out: folder of the training, new or of this very training.
        generator: the checkpoint's generator on its device, where it is built already.
        device: of the generator where it is not: "auto", "cpu", "cuda", "cuda:0", "mps".
        keep_states: keep the state of every snapshot, not of the last alone.
        resume_at: go back to the snapshot of this step, where its state was kept.
        offline: fetch nothing.

    Returns:
        The file ``out/alpha.safetensors`` and the verdict, which the file holds too.

    Raises:
        UsageError: ``out`` holds another training, cannot be written, or keeps no state of the step
            to go back to; a batch that cannot be divided by the processes; an absent device.
        InputRefused: images or a discriminator that cannot be used.
        NetworkError: something has to be fetched and cannot be.
        Collapsed: the training collapsed in every attempt.
    """
    flush_denormals()
    if generator is None:
        generator = checkpoint.build().to(choose_device(device))
        generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    part, crop, result = recipe.alpha, recipe.generator.crop, out / RESULT
    ranks = join_ranks(generator.w_avg.device)
    level = logging.INFO if ranks.leads else logging.DEBUG
    _check_batch(part.training, ranks)
    identity = training_id(part, checkpoint, crop)

    def is_done() -> bool:
        return resume_at is None and ranks.any(ranks.leads and is_whole(result))

    if ranks.any(ranks.leads and is_claimed(out, identity)) and is_done():
        logger.log(level, "alpha network is trained already: %s", result)
        return _trained(result, level)
    # All that can be refused is, before a folder is claimed for it.
    state_file = _state_to_resume(out, resume_at)
    context = SourceContext(part, generator, crop, offline)
    trainer = AlphaTrainer(
        part,
        generator,
        open_sources(context),
        pretrained=pretrained(part, checkpoint),
        ranks=ranks,
    )
    try:
        if ranks.leads:
            claim_folder(out, identity, other=OTHER)
    finally:
        ranks.wait()
    if not ranks.leads:  # what the first has claimed, or what refused it
        claim_folder(out, identity, other=OTHER)
    with hold_folder(out, leads=ranks.leads, agree=ranks.any):
        if is_done():
            logger.log(level, "alpha network was trained by another process: %s", result)
            return _trained(result, level)
        if result.exists() and resume_at is None:
            logger.log(level, "alpha network is damaged and is made again: %s", result)
        if state_file.exists():
            trainer.state.load(state_file)
            logger.log(level, "resuming alpha training at step %d", trainer.state.step)
        ranks.wait()
        if resume_at is not None and ranks.leads:
            # From here the plain command goes on too, should this one be stopped.
            trainer.state.save(state_path(out))
            result.unlink(missing_ok=True)
        _train(trainer, recipe, checkpoint, out, keep_states=keep_states)
        ranks.wait()
    return _trained(result, level)


def _train(
    trainer: AlphaTrainer,
    recipe: Recipe,
    checkpoint: GeneratorCheckpoint,
    out: Path,
    *,
    keep_states: bool,
) -> None:
    """Run the training; the process that leads writes all files."""
    part, generator = trainer.part, trainer.generator

    def keep(path: Path, network: AlphaNetwork, facts: dict[str, Any]) -> None:
        save_alpha(
            path,
            network,
            generator_fingerprint=checkpoint.fingerprint,
            licence=checkpoint.licence,
            training={"recipe": part.training.model_dump(mode="json")} | facts,
        )

    if not trainer.ranks.leads:
        trainer.run()
        return
    log = TrainingLogger(part, generator, trainer.sources.background, out, trainer.state.step)

    def watch(state: TrainingState, facts: StepFacts) -> None:
        log.note(facts)
        if is_snapshot(part.training, facts.step):
            state.save(state_path(out))
            if keep_states:
                state.save(state_path(out, facts.step))
            keep(out / f"snapshot-{facts.step:06d}.safetensors", state.average, asdict(facts))
            log.previews.write(state.average, facts.step)

    try:
        network = trainer.run(watch)
        log.previews.write(network, None)
    except Collapsed as error:
        average = trainer.state.average
        if all(bool(value.isfinite().all()) for value in average.state_dict().values()):
            facts = {"step": trainer.state.step, "collapsed": str(error)}
            keep(out / COLLAPSED, average, facts)
        raise
    finally:
        scores = {step: score.total for step, score in trainer.scores.items()}
        log.close(scores, trainer.kept_step)
    threshold = recipe.output.mask_threshold
    mute = MUTES.get(part.background)
    psi = part.training.psi
    verdict = judge_alpha(network, generator, psi=psi, threshold=threshold, mute=mute)
    outcome: dict[str, Any] = {"step": part.training.steps, "kept_step": trainer.kept_step}
    if trainer.agreements:
        outcome["self_training"] = trainer.agreements
    keep(out / RESULT, network, outcome | {"verdict": verdict.to_dict()})


def _trained(result: Path, level: int) -> TrainedAlpha:
    native = open_alpha(result).native
    verdict = read_verdict(native.training) if native else None
    if verdict:
        level = verdict.log_level if level == logging.INFO else level
        logger.log(level, "the alpha network is %s", verdict)
    return TrainedAlpha(result, verdict)


def _check_batch(config: TrainingPart, ranks: Ranks) -> None:
    if config.batch % (config.accumulate * ranks.count):
        problem = f"a batch of {config.batch} cannot be divided by {ranks.count} processes"
        remedy = "give a multiple of processes times accumulate"
        raise UsageError("alpha.training.batch", problem, remedy)


def _state_to_resume(out: Path, step: int | None) -> Path:
    state = state_path(out, step)
    if step is not None and not state.exists():
        kept = ", ".join(str(int(path.stem[6:])) for path in sorted(out.glob("state-*.pt")))
        problem = f"keeps no state of that step, only of {kept or 'none'}"
        raise UsageError(f"--resume-at {step}: {out}", problem, "train with --keep-states")
    return state


def is_whole(path: Path) -> bool:
    """Whether a file is there and holds an alpha network."""
    try:
        open_alpha(path)
    except CheckpointRefused:
        return False
    return True


def pretrained(part: AlphaPart, checkpoint: GeneratorCheckpoint) -> Discriminator | None:
    """Open the discriminator that a training starts with, where it asks for the checkpoint's.

    It lies beside the generator, as ``pretrain`` writes it, or in the same file.

    Raises:
        CheckpointRefused: there is none that fits.
    """
    if part.training.discriminator != "pretrained":
        return None
    opened = open_own_discriminator(
        discriminator_beside(checkpoint.path) or checkpoint.path,
        checkpoint.spec.resolution,
        setting="alpha.training.discriminator",
        instead="set alpha.training.discriminator=scratch",
        refusal=CheckpointRefused,
    )
    return opened.build()


def state_path(out: Path, step: int | None = None) -> Path:
    """Return where the state of the last snapshot, or of a given one, lies."""
    return out / "state.pt" if step is None else out / f"state-{step:06d}.pt"
