"""A training as a folder: state, snapshots, log, and at its end the network with a verdict.

```
alpha.safetensors            the network, with the recipe's training part and the verdict
snapshot-000050.safetensors  the average at that step
preview-01-000050.png        the same images at every snapshot of every attempt
preview-final.png            and by the network that is kept
log.jsonl, curves.png        what every step measured
state.pt                     what a stopped training goes on from
training-id, lock            whose folder it is, and whether a process trains in it
```
"""

import hashlib
import json
import logging
from contextlib import suppress
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
from l4f_datagen.io.download import default_cache, file_hash
from l4f_datagen.io.photographs import Box
from l4f_datagen.io.stores import STORES, listing_sha256
from l4f_datagen.io.training_folder import claim_folder, hold_folder, is_claimed
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.devices import choose_device, flush_denormals
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, Mute
from l4f_datagen.recipe import AlphaPart, Recipe
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.hardware import join_ranks
from l4f_datagen.training.logger import TrainingLogger
from l4f_datagen.training.loop import AlphaTrainer, is_snapshot
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
    """What a training gave: the network's file, and its verdict (None in files of old versions)."""

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

    Gives ``out/alpha.safetensors`` and its verdict, which the file holds too.
    One process at a time trains in a folder; a later one waits and takes the trained network. Under
    ``torchrun`` all processes train on the joint batch and the first writes.

    Args:
        recipe: its parts ``alpha``, ``generator.crop`` and ``output.mask_threshold`` are used.
        checkpoint: the generator, from ``open_generator``.
        out: folder of the training, new or of this very training.
        generator: the checkpoint's on its device, where it is built already.
        device: of the generator where it is not: "auto", "cpu", "cuda", "cuda:0", "mps".
        keep_states: keep the state of every snapshot, not of the last alone.
        resume_at: go back to the snapshot of this step, where its state was kept.
        offline: fetch nothing.

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
    if part.training.batch % (part.training.accumulate * ranks.count):
        problem = f"a batch of {part.training.batch} cannot be divided by {ranks.count} processes"
        remedy = "give a multiple of processes times accumulate"
        raise UsageError("alpha.training.batch", problem, remedy)
    identity = training_id(part, checkpoint, crop)

    def is_done() -> bool:
        return resume_at is None and ranks.any(ranks.leads and _is_whole(result))

    if ranks.any(ranks.leads and is_claimed(out, identity)) and is_done():
        logger.log(level, "alpha network is trained already: %s", result)
        return _trained(result, level)
    # All that can be refused is, before a folder is claimed for it.
    state_file = state_path(out, resume_at)
    if resume_at is not None and not state_file.exists():
        kept = ", ".join(str(int(path.stem[6:])) for path in sorted(out.glob("state-*.pt")))
        problem = f"keeps no state of that step, only of {kept or 'none'}"
        raise UsageError(f"--resume-at {resume_at}: {out}", problem, "train with --keep-states")
    sources, judge = SourceContext(part, generator, crop, offline), pretrained(part, checkpoint)
    trainer = AlphaTrainer(part, generator, open_sources(sources), pretrained=judge, ranks=ranks)
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
        if ranks.leads:
            _train(trainer, recipe, checkpoint, out, keep_states)
        else:
            trainer.run()
        ranks.wait()
    return _trained(result, level)


def _is_whole(result: Path) -> bool:
    with suppress(CheckpointRefused):
        open_alpha(result)
        return True
    return False


def _train(
    trainer: AlphaTrainer, recipe: Recipe, checkpoint: GeneratorCheckpoint, out: Path, states: bool
) -> None:
    """Run the training in the process that leads, which writes all files."""
    part, generator = trainer.part, trainer.generator

    def keep(name: str, network: AlphaNetwork, facts: dict[str, Any]) -> None:
        save_alpha(
            out / name,
            network,
            generator_fingerprint=checkpoint.fingerprint,
            licence=checkpoint.licence,
            training={"recipe": part.training.model_dump(mode="json")} | facts,
        )

    def watch(state: TrainingState, facts: StepFacts) -> None:
        log.note(facts)
        if is_snapshot(part.training, facts.step):
            state.save(state_path(out))
            if states:
                state.save(state_path(out, facts.step))
            keep(f"snapshot-{facts.step:06d}.safetensors", state.average, asdict(facts))
            log.preview(state.average, facts)

    log = TrainingLogger(part, generator, trainer.sources.background, out, trainer.state.step)
    try:
        network = trainer.run(watch)
        log.preview(network)
    except Collapsed as error:
        average = trainer.state.average
        if all(bool(value.isfinite().all()) for value in average.state_dict().values()):
            keep(COLLAPSED, average, {"step": trainer.state.step, "collapsed": str(error)})
        raise
    finally:
        log.close({step: score.total for step, score in trainer.scores.items()}, trainer.kept_step)
    psi, mute = part.training.psi, MUTES.get(part.background)
    threshold = recipe.output.mask_threshold
    verdict = judge_alpha(network, generator, psi=psi, threshold=threshold, mute=mute)
    outcome: dict[str, Any] = {"step": part.training.steps, "kept_step": trainer.kept_step}
    if trainer.agreements:
        outcome["self_training"] = trainer.agreements
    keep(RESULT, network, outcome | {"verdict": verdict.to_dict()})


def _trained(result: Path, level: int) -> TrainedAlpha:
    native = open_alpha(result).native
    verdict = read_verdict(native.training) if native else None
    if verdict:
        level = verdict.log_level if level == logging.INFO else level
        logger.log(level, "the alpha network is %s", verdict)
    return TrainedAlpha(result, verdict)


def pretrained(part: AlphaPart, checkpoint: GeneratorCheckpoint) -> Discriminator | None:
    """Open the discriminator that a training starts with, where it asks for the checkpoint's.

    It lies beside the generator, as ``pretrain`` writes it, or in the same file.
    ``CheckpointRefused`` where there is none that fits.
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


def training_id(part: AlphaPart, checkpoint: GeneratorCheckpoint, crop: Box | None = None) -> str:
    """Name a training: sha256 over everything that decides the trained weights.

    ``crop`` is the part of the canvas that the generator draws in, px.
    """
    values, training = part.model_dump(mode="json", exclude={"weights"}), part.training
    if training.keep == "last":
        values["training"].pop("snapshot_interval")
    if training.reals in STORES or part.background == "pictures":
        values["crop"] = list(crop) if crop else None
    else:
        values.pop("fit")
    if training.discriminator == "pretrained":
        beside = discriminator_beside(checkpoint.path)
        values["discriminator"] = file_hash(beside) if beside else checkpoint.sha256
    # What lies at a path names it, wherever the path leads: images by their listing, weights by
    # their bytes. Those of the catalogue keep their entry, the same before they are fetched.
    path, images = part.background_path or "", {}
    if training.reals_folder is not None:
        images["reals"] = listing_sha256(training.reals_folder, training.reals)
    if part.background == "pictures":
        images["backgrounds"] = listing_sha256(path)
    elif part.background == "generator" and not path.startswith("catalogue:"):
        file = local_weights(path, "generator", key="alpha.background_path")
        images["backgrounds"] = file_hash(file) if file.is_file() else None
    images = {name: digest for name, digest in images.items() if digest is not None}
    if "reals" in images:
        values["training"].pop("reals_folder")
    if "backgrounds" in images:
        values.pop("background_path")
    named = {"alpha": values, "generator": generator_sha256(checkpoint), **images}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def generator_sha256(checkpoint: GeneratorCheckpoint) -> str:
    """Hash a generator's values as they are loaded, so that a copy in half precision differs.

    The bound that its layers clip at counts, too. Noise maps are left out: a training draws its own
    noise.
    """
    digest = hashlib.sha256()
    if checkpoint.spec.conv_clamp is not None:
        digest.update(f"conv_clamp {checkpoint.spec.conv_clamp}".encode())
    for name, value in sorted(checkpoint.complete_state.items()):
        if not name.endswith(".noise_const"):
            digest.update(f"{name}{list(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cached_training(part: AlphaPart, checkpoint: GeneratorCheckpoint, crop: Box | None) -> Path:
    """Return the folder where the alpha network of this recipe and generator is kept."""
    return default_cache() / "alpha" / training_id(part, checkpoint, crop)[:16]
