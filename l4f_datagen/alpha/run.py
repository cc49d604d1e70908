"""A training run as a folder: state, snapshots, diary; and the cache of networks."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l4f_datagen.alpha.diary import Diary
from l4f_datagen.alpha.network import AlphaNetwork
from l4f_datagen.alpha.ranks import join_ranks
from l4f_datagen.alpha.state import StepFacts, Training
from l4f_datagen.alpha.training import is_snapshot, new_training, train_alpha
from l4f_datagen.checkpoints.cache import default_cache
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.errors import UsageError
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.stylegan2.generator import Generator
from l4f_datagen.training_folder import claim_folder


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
    say: Callable[[str], None],
    *,
    resume: Resume = Resume(),
) -> Path:
    """Train into ``out``, or resume what stopped there; return ``out/alpha.safetensors``.

    Under ``torchrun`` all processes train on the joint batch and the first writes.

    Raises:
        UsageError: ``out`` holds a run of another recipe or generator, or cannot be written.
        L4FError: the training collapsed.
    """
    result = out / "alpha.safetensors"
    ranks = join_ranks(generator.w_avg.device)
    say = say if ranks.leads else _silence
    other = "holds the training of another recipe or generator"
    claim_folder(out, training_id(part, checkpoint.fingerprint), other=other)
    ranks.wait()
    if result.exists() and resume.at is None:
        say(f"alpha network is trained already: {result}")
        return result
    wants_pretrained = part.training.discriminator == "pretrained"
    pretrained = checkpoint.discriminator().build() if wants_pretrained else None
    training = new_training(part, generator, pretrained)
    state = state_path(out, resume.at)
    if resume.at is not None and not state.exists():
        kept = ", ".join(str(int(path.stem[6:])) for path in sorted(out.glob("state-*.pt")))
        problem = f"keeps no state of that step, only of {kept or 'none'}"
        raise UsageError(f"--resume-at {resume.at}: {out}", problem, "train with --keep-states")
    if state.exists():
        training.load(state)
        say(f"resuming alpha training at step {training.step}")
    ranks.wait()

    def keep(path: Path, network: AlphaNetwork, facts: dict[str, Any]) -> None:
        save_alpha(
            path,
            network,
            generator_fingerprint=checkpoint.fingerprint,
            licence=checkpoint.licence,
            training={"recipe": part.training.model_dump(mode="json")} | facts,
        )

    diary = Diary(part, generator, out, say, training.step) if ranks.leads else None

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
        network = train_alpha(part, generator, training=training, watch=watch, say=say, ranks=ranks)
    finally:
        if diary is not None:
            diary.close()
    if ranks.leads:
        keep(result, network, {"step": part.training.steps})
    ranks.wait()
    return result


def _silence(line: str) -> None:
    pass


def state_path(out: Path, step: int | None = None) -> Path:
    """Where the state of the last snapshot, or of a given one, lies."""
    return out / "state.pt" if step is None else out / f"state-{step:06d}.pt"


def training_id(part: AlphaPart, fingerprint: str) -> str:
    """Name a training: sha256 over everything that decides the trained weights."""
    values = part.model_dump(mode="json", exclude={"weights"})
    if part.training.keep == "last":
        values["training"].pop("snapshot_interval")
    canonical = json.dumps({"alpha": values, "generator": fingerprint}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def cached_training(part: AlphaPart, fingerprint: str) -> Path:
    """Where the alpha network of this recipe and generator is kept once trained."""
    return default_cache() / "alpha" / training_id(part, fingerprint)[:16]
