"""A training run as a folder: state, log, and the segmenter with the facts about it.

```
segmenter.safetensors   the network, and what is in segmenter.json
segmenter.json          dataset and its recipe, licence, plan, score on held-out samples
log.jsonl               a line for each step: step, loss, learning_rate, at times held_out_miou
state.pt                what a stopped run goes on from
```
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.progress import Meter
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.dataset.verify import count_files, verify_dataset
from l4f_datagen.io.disk import remove, write_atomically
from l4f_datagen.io.training_folder import claim_folder, hold_folder
from l4f_datagen.models.devices import choose_device
from l4f_datagen.models.unet import UNet
from l4f_datagen.pretraining.plan import Symmetry
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.scoring.image_score import confusion, mean_iou
from l4f_datagen.segmenter import training as learning
from l4f_datagen.segmenter.model import Segmenter, save_segmenter
from l4f_datagen.segmenter.training import Augmentation, Plan, Samples, Source, Training, predict
from l4f_datagen.segmenter.training_set import TrainingSet, held_out, open_training_set

logger = logging.getLogger(__name__)

RESULT, FACTS = "segmenter.safetensors", "segmenter.json"
LOG, STATE = "log.jsonl", "state.pt"
HELD_OUT_MOST = 500  # samples of the held-out score: enough for three digits
SCORED_AT_ONCE = 50  # a choice
THRESHOLD = 0.5  # of a network trained by cross-entropy
DEFAULT_STEPS = 1000  # a choice
LARGEST_DEFAULT = 256
"""Longer side in px that larger datasets are trained at by default: the U-Net sees about 100 px
across, and at larger sizes it would see only parts of an object."""


@dataclass(frozen=True)
class Material:
    """What a run learns from."""

    train: Source
    held_out: Source  # samples to be scored on, may be empty
    size: int  # longer side of the samples, px
    category: str  # what their masks show
    licence: Licence | None  # of the images, which the network inherits
    facts: Mapping[str, Any]  # where they come from, any JSON; decides the identity of the run


def material_of(samples: TrainingSet) -> Material:
    """Split a dataset, see ``held_out``, and carry its origin and licence along."""
    kept = held_out(samples)
    if kept.all():
        problem = f"holds {len(kept)} samples, too few to learn from"
        raise InputRefused(samples.source, problem, "make more with `l4f-datagen make`")
    manifest = samples.manifest
    provenance = manifest.get("provenance", {})
    facts = {
        "manifest_sha256": samples.manifest_sha256,
        "recipe": samples.recipe,
        "recipe_hash": provenance.get("recipe_hash"),
        "domain": provenance.get("domain"),
        "samples": len(kept),
        "held_out": int(kept.sum()),
        "image_size_wh": list(samples.size_hw[::-1]),
    }
    learnt, scored = np.flatnonzero(~kept), np.flatnonzero(kept)[:HELD_OUT_MOST]
    parts = (
        Samples(len(learnt), lambda picked: samples.batch(learnt[picked])),
        Samples(len(scored), lambda picked: samples.batch(scored[picked])),
    )
    category, licence = str(manifest.get("category", "object")), licence_of(manifest)
    return Material(*parts, samples.size, category, licence, facts)


def licence_of(manifest: Mapping[str, Any]) -> Licence | None:
    """Return the licence of a dataset; unless it says so, it allows no commercial use."""
    stored = manifest.get("provenance", {}).get("licence") or manifest.get("licence")
    if not isinstance(stored, Mapping) or not stored.get("name"):
        return None
    link, named = stored.get("link") or stored.get("url") or "", stored.get("attribution")
    attribution = str(named) if named else None
    return Licence(str(stored["name"]), str(link), stored.get("commercial") is True, attribution)


def run_training(
    material: Material,
    plan: Plan,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    save_every: int = 100,
) -> Path:
    """Train into ``out``, or resume what stopped there; return the file of the segmenter.

    A folder that holds a run on other samples or with other options is refused.
    """
    identity = {"plan": asdict(plan), "size": material.size, "samples": dict(material.facts)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    claim_folder(out, digest, other="holds a training on other samples or with other options")
    with hold_folder(out):
        result = out / RESULT
        if result.exists():
            logger.info(f"segmenter is trained already: {result}")
            return result
        training = learning.new_training(plan, device)
        if (out / STATE).exists():
            training.load(out / STATE)
            logger.info(f"resuming segmenter training at step {training.step}")
        # Lines of steps that were undone are cut; a crash cuts short only a line behind the state.
        lines = (out / LOG).read_text().splitlines() if (out / LOG).exists() else []
        kept = "".join(line + "\n" for line in lines[: training.step])
        write_atomically(out / LOG, kept.encode())
        meter = Meter(plan.steps, "segmenter", "steps", initial=training.step)
        with meter, (out / LOG).open("a", buffering=1) as log:

            def watch(training: Training, loss: float) -> None:
                rate = plan.learning_rate_at(training.step - 1)
                facts: dict[str, Any] = {"step": training.step, "loss": loss, "learning_rate": rate}
                meter.advance(loss=f"{loss:.4f}")
                saving = training.step % save_every == 0 or training.step == plan.steps
                if saving and len(material.held_out):
                    facts["held_out_miou"] = held_out_miou(training.network, material.held_out)
                log.write(json.dumps(facts) + "\n")
                if saving:
                    training.save(out / STATE)

            network = learning.train(training, plan, material.train, watch)
        scored = len(material.held_out) > 0
        facts = {
            "dataset": dict(material.facts),
            "plan": asdict(plan),
            "held_out_miou": held_out_miou(network, material.held_out) if scored else None,
            "package": f"l4f-datagen {version('l4f-datagen')}",
            "device": torch.device(device).type,
        }
        segmenter = Segmenter(
            network, material.size, THRESHOLD, material.category, material.licence, facts
        )
        licence = material.licence.facts if material.licence else None
        named = segmenter.spec | {"licence": licence} | facts
        write_atomically(out / FACTS, json.dumps(named, indent=2, sort_keys=True).encode() + b"\n")
        save_segmenter(result, segmenter)
        remove(out / STATE)
        return result


def train_on_dataset(
    dataset: Path,
    out: Path,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    size: int | None = None,
    batch: int = 32,
    width: int = 16,
    seed: int = 0,
    symmetry: Symmetry = "mirror",
    device: str = "auto",
    verify: bool = True,
) -> Path:
    """Train on the folder of a finished dataset and return the file of the segmenter.

    The length is in ``steps`` or in ``epochs``, passes over the samples; 1,000 steps without
    either. ``size`` is the longer side in px, None: the dataset's, at most 256. ``verify`` compares
    the dataset with the hashes in its manifest first. The others: see ``Plan``, ``choose_device``.
    """
    chosen = choose_device(device)
    manifest = read_manifest(dataset)  # before a folder is made
    if out.resolve().is_relative_to(dataset.resolve()):
        raise UsageError(str(out), "lies inside the dataset", "name a folder elsewhere")
    if verify:
        with Meter(count_files(manifest), "verify", "files") as meter:
            problems = verify_dataset(dataset, meter.advance)
        if problems:
            first, others = problems[0], len(problems) - 1
            more = f", and {others} more" if others else ""
            remedy = f"{first.remedy} (`l4f-datagen verify` names all; --no-verify skips this)"
            raise InputRefused(f"{dataset}/{first.path}", first.problem + more, remedy)
    with TemporaryDirectory(prefix="l4f-") as scratch:
        samples = open_training_set(dataset, Path(scratch))
        samples.size = size or min(samples.size, LARGEST_DEFAULT)
        material = material_of(samples)
        length = steps or DEFAULT_STEPS
        if epochs is not None:
            length = max(1, math.ceil(epochs * len(material.train) / batch))
        plan = Plan(seed, length, batch, width, augmentation=Augmentation(symmetry=symmetry))
        logger.info(
            f"{len(material.train)} samples to learn from, {len(material.held_out)} held out, "
            f"{samples.size} px, {length} steps of {batch} on {chosen}"
        )
        result = run_training(material, plan, out, device=chosen)
    miou = json.loads((out / FACTS).read_text())["held_out_miou"]
    if miou is None:
        logger.warning("no sample was held out, so there is no score: train on a larger dataset")
    else:
        logger.info(f"mIoU {miou:.3f} on {len(material.held_out)} samples that were held out")
    return result


def held_out_miou(network: UNet, samples: Source) -> float:
    """Return the mean IoU of object and background, pooled over all pixels of the samples."""
    network.eval()
    counts = np.zeros(4, np.int64)
    for start in range(0, len(samples), SCORED_AT_ONCE):
        images, alphas = samples.batch(np.arange(start, min(start + SCORED_AT_ONCE, len(samples))))
        found = alpha_to_mask(predict(network, images, batch=8), THRESHOLD)
        counts += confusion(alpha_to_mask(alphas, THRESHOLD), found)
    return mean_iou(counts)
