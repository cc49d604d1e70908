"""A training run as a folder: state, snapshots, previews, log; and the cache of networks."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from l4f_datagen.alpha.network import AlphaNetwork
from l4f_datagen.alpha.previews import Previews
from l4f_datagen.alpha.training import StepFacts, Training, new_training, train_alpha
from l4f_datagen.checkpoints.cache import default_cache
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.errors import UsageError
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.stylegan2.generator import Generator

ESTIMATE_AFTER = 5
"""Steps after which the time left can be told."""


def run_training(
    part: AlphaPart,
    generator: Generator,
    checkpoint: GeneratorCheckpoint,
    out: Path,
    say: Callable[[str], None],
) -> Path:
    """Train into ``out``, or resume what stopped there; return ``out/alpha.safetensors``.

    Raises:
        UsageError: ``out`` holds a run of another recipe or generator, or cannot be written.
        L4FError: the training collapsed.
    """
    result = out / "alpha.safetensors"
    claim_folder(out, training_id(part, checkpoint.fingerprint))
    if result.exists():
        say(f"alpha network is trained already: {result}")
        return result
    wants_pretrained = part.training.discriminator == "pretrained"
    pretrained = checkpoint.discriminator().build() if wants_pretrained else None
    training = new_training(part, generator, pretrained)
    state = out / "state.pt"
    if state.exists():
        training.load(state)
        say(f"resuming alpha training at step {training.step}")
    previews = Previews(part, generator, out)
    log = append_log(out / "log.jsonl")
    every = part.training.snapshot_interval
    first_step, started = training.step, time.monotonic()
    bar = tqdm(
        total=part.training.steps, initial=first_step, desc="alpha", unit="step", disable=None
    )

    def keep(path: Path, network: AlphaNetwork, facts: dict[str, Any]) -> None:
        save_alpha(
            path,
            network,
            generator_fingerprint=checkpoint.fingerprint,
            licence=checkpoint.licence,
            training={"recipe": part.training.model_dump(mode="json")} | facts,
        )

    def watch(training: Training, facts: StepFacts) -> None:
        log(training, facts)
        bar.update()
        bar.set_postfix(coverage=f"{facts.alpha_coverage:.2f}", bin=f"{facts.binarization:.3f}")
        if facts.step - first_step == ESTIMATE_AFTER:
            pace = (time.monotonic() - started) / ESTIMATE_AFTER
            minutes = pace * (part.training.steps - facts.step) / 60
            say(f"alpha training: {part.training.steps} steps, about {minutes:.1f} minutes left")
        if facts.step % every == 0 or facts.step == part.training.steps:
            training.save(state)
            network = training.average
            path = out / f"snapshot-{facts.step:06d}.safetensors"
            keep(path, network, asdict(facts))
            previews.write(network, facts.step)

    with bar:
        network = train_alpha(part, generator, training=training, watch=watch)
    keep(result, network, {"step": part.training.steps})
    return result


def training_id(part: AlphaPart, fingerprint: str) -> str:
    """Name a training: sha256 over everything that decides the trained weights."""
    values = part.model_dump(mode="json", exclude={"weights"})
    values["training"].pop("snapshot_interval")
    canonical = json.dumps({"alpha": values, "generator": fingerprint}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def claim_folder(out: Path, identity: str) -> None:
    """Make ``out`` the folder of this training.

    Raises:
        UsageError: it belongs to another training, holds foreign files, or cannot be written.
    """
    marker = out / "training-id"
    try:
        if marker.exists():
            if marker.read_text().strip() != identity:
                problem = "holds the training of another recipe or generator"
                raise UsageError(str(out), problem, "name another --out or remove the folder")
            return
        if out.exists() and any(out.iterdir()):
            raise UsageError(str(out), "is not empty and holds no training", "name another --out")
        out.mkdir(parents=True, exist_ok=True)
        marker.write_text(identity + "\n")
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error


def cached_training(part: AlphaPart, fingerprint: str) -> Path:
    """Where the alpha network of this recipe and generator is kept once trained."""
    return default_cache() / "alpha" / training_id(part, fingerprint)[:16]


def append_log(path: Path) -> Callable[[Training, StepFacts], None]:
    """Return a watcher that writes one JSON line a step; lines of an undone future are cut."""
    kept: list[str] = []

    def lines() -> Iterator[str]:
        if path.exists():
            yield from path.read_text().splitlines()

    def watch(training: Training, facts: StepFacts) -> None:
        if not kept:
            kept.append("opened")
            past = [line for line in lines() if json.loads(line)["step"] < facts.step]
            path.write_text("".join(line + "\n" for line in past))
        with path.open("a") as log:
            log.write(json.dumps(asdict(facts)) + "\n")

    return watch
