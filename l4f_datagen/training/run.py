"""A training run as a folder: state, snapshots, diary; and the cache of networks."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import (
    GeneratorCheckpoint,
    open_alpha,
    open_own_discriminator,
)
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.io.cache import default_cache, file_hash
from l4f_datagen.io.listing import listing_sha256
from l4f_datagen.io.training_folder import claim_folder
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.training.collapse import Collapsed
from l4f_datagen.training.diary import Diary
from l4f_datagen.training.loop import is_snapshot, new_training, open_sources, train_alpha
from l4f_datagen.training.ranks import join_ranks
from l4f_datagen.training.state import StepFacts, Training

logger = logging.getLogger(__name__)

COLLAPSED = "collapsed.safetensors"
"""The network as a training left it that collapsed in every attempt."""


@dataclass(frozen=True)
class Resume:
    """How a run can be resumed.

    Attributes:
        keep_states: keep the state of every snapshot, not of the last alone.
        at: go back to the snapshot of this step, where its state was kept.
    """

    keep_states: bool = False
    at: int | None = None


def run_training(
    part: AlphaPart,
    generator: Generator,
    checkpoint: GeneratorCheckpoint,
    out: Path,
    *,
    resume: Resume = Resume(),
    offline: bool = False,
) -> Path:
    """Train into ``out``, or resume what stopped there; return ``out/alpha.safetensors``.

    Under ``torchrun`` all processes train on the joint batch and the first writes. With
    ``offline`` nothing is fetched.

    Raises:
        UsageError: ``out`` holds a run of another recipe or generator, cannot be written, or keeps
            no state of the step to go back to; a batch that cannot be dealt to the processes; a
            resolution that is not there.
        InputRefused: pictures or a discriminator that cannot be used.
        Collapsed: the training collapsed.
    """
    result = out / "alpha.safetensors"
    done = resume.at is None and is_whole(result)
    ranks = join_ranks(generator.w_avg.device)
    if part.training.batch % (part.training.accumulate * ranks.count):
        problem = f"a batch of {part.training.batch} cannot be dealt to {ranks.count} processes"
        raise UsageError("alpha.training.batch", problem, "give a multiple of processes and shares")
    # All that can be refused is, before a folder is claimed for it.
    state = state_path(out, resume.at)
    if resume.at is not None and not state.exists():
        kept = ", ".join(str(int(path.stem[6:])) for path in sorted(out.glob("state-*.pt")))
        problem = f"keeps no state of that step, only of {kept or 'none'}"
        raise UsageError(f"--resume-at {resume.at}: {out}", problem, "train with --keep-states")
    training = None if done else new_training(part, generator, pretrained(part, checkpoint))
    sources = None if done else open_sources(part, generator, offline=offline)
    identity = training_id(part, checkpoint.fingerprint)
    other = "holds the training of another recipe or generator, or on other pictures"
    try:
        if ranks.leads:
            claim_folder(out, identity, other=other)
    finally:
        ranks.wait()
    if not ranks.leads:  # what the first has claimed, or what refused it
        claim_folder(out, identity, other=other)
    if training is None:
        logger.info(f"alpha network is trained already: {result}")
        return result
    if result.exists() and resume.at is None:
        logger.info(f"alpha network is damaged, it is made again: {result}")
    if state.exists():
        training.load(state)
        logger.info(f"resuming alpha training at step {training.step}")
    ranks.wait()
    if resume.at is not None and ranks.leads:
        # From here the plain command goes on too, should this one be stopped.
        training.save(state_path(out))
        result.unlink(missing_ok=True)

    def keep(path: Path, network: AlphaNetwork, facts: dict[str, Any]) -> None:
        save_alpha(
            path,
            network,
            generator_fingerprint=checkpoint.fingerprint,
            licence=checkpoint.licence,
            training={"recipe": part.training.model_dump(mode="json")} | facts,
        )

    diary = Diary(part, generator, out, training.step) if ranks.leads else None

    def watch(training: Training, facts: StepFacts) -> None:
        if diary is None:
            return
        diary.note(facts)
        if is_snapshot(part.training, facts.step):
            training.save(state_path(out))
            if resume.keep_states:
                training.save(state_path(out, facts.step))
            keep(out / f"snapshot-{facts.step:06d}.safetensors", training.average, asdict(facts))
            diary.illustrate(training.average, facts.step)

    try:
        network = train_alpha(
            part,
            generator,
            training=training,
            sources=sources,
            watch=watch,
            ranks=ranks,
        )
    except Collapsed as error:
        if ranks.leads and is_finite(training.average):
            facts = {"step": training.step, "collapsed": str(error)}
            keep(out / COLLAPSED, training.average, facts)
        raise
    finally:
        if diary is not None:
            diary.close()
    if ranks.leads:
        keep(result, network, {"step": part.training.steps, "kept_step": training.kept})
    ranks.wait()
    return result


def is_whole(path: Path) -> bool:
    """Whether a file is there and holds an alpha network."""
    try:
        open_alpha(path)
    except CheckpointRefused:
        return False
    return True


def pretrained(part: AlphaPart, checkpoint: GeneratorCheckpoint) -> Discriminator | None:
    """Open the discriminator that a training starts with, where it asks for the checkpoint's.

    Raises:
        CheckpointRefused: there is none that fits.
    """
    if part.training.discriminator != "pretrained":
        return None
    opened = open_own_discriminator(
        checkpoint.path,
        checkpoint.spec.resolution,
        setting="alpha.training.discriminator",
        instead="set alpha.training.discriminator=scratch",
        refusal=CheckpointRefused,
    )
    return opened.build()


def is_finite(network: AlphaNetwork) -> bool:
    """Whether every weight is a number, as those of a file must be."""
    return all(bool(value.isfinite().all()) for value in network.state_dict().values())


def state_path(out: Path, step: int | None = None) -> Path:
    """Where the state of the last snapshot, or of a given one, lies."""
    return out / "state.pt" if step is None else out / f"state-{step:06d}.pt"


def training_id(part: AlphaPart, fingerprint: str) -> str:
    """Name a training: sha256 over everything that decides the trained weights."""
    values = part.model_dump(mode="json", exclude={"weights"})
    if part.training.keep == "last":
        values["training"].pop("snapshot_interval")
    if part.training.precision == "fp32":  # trainings from before there was a choice keep their id
        values["training"].pop("precision")
    pictures = pictures_of(part)
    # What lies at a path names it, wherever the path leads.
    if "reals" in pictures:
        values["training"].pop("reals_folder")
    if "backgrounds" in pictures:
        values.pop("background_path")
    named = {"alpha": values, "generator": fingerprint, **pictures}
    canonical = json.dumps(named, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def pictures_of(part: AlphaPart) -> dict[str, str]:
    """Name what lies at the recipe's paths: pictures by their listing, weights by their bytes.

    Weights of the catalogue are named by their entry, which is the same before they are fetched.

    Keys: ``reals`` and ``backgrounds``, each where the recipe names a path and it can be listed.
    """
    found = {}
    if part.training.reals_folder is not None:
        found["reals"] = listing_sha256(part.training.reals_folder, part.training.reals)
    if part.background == "pictures":
        found["backgrounds"] = listing_sha256(part.background_path or "")
    weights = part.background_path or ""
    if part.background == "generator" and not weights.startswith("catalogue:"):
        file = local_weights(weights, "generator", key="alpha.background_path")
        found["backgrounds"] = file_hash(file) if file.is_file() else None
    return {name: digest for name, digest in found.items() if digest is not None}


def cached_training(part: AlphaPart, fingerprint: str) -> Path:
    """Where the alpha network of this recipe and generator is kept once trained."""
    return default_cache() / "alpha" / training_id(part, fingerprint)[:16]
