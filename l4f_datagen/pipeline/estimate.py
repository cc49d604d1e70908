"""The plan of a dataset before its cost: what is fetched and trained, disk and time.

Touches no file. The speed is measured on one image, or as many small ones as a thread renders at
once: seconds, even at 512 px.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.core.progress import duration_text, size_text
from l4f_datagen.dataset import ownership
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of
from l4f_datagen.models.devices import choose_devices
from l4f_datagen.pipeline import networks
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.local_engine import render_threads
from l4f_datagen.recipe import TrainingPart
from l4f_datagen.recipe.catalogue import WEIGHTS
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import renderer_of
from l4f_datagen.training.run import RESULT, cached_training
from l4f_datagen.training.self_training import BATCHES

logger = logging.getLogger(__name__)

BYTES_A_PIXEL = {"coco": 0.05, "yolo": 3.0}
BYTES_A_PIXEL |= dict.fromkeys(("png", "hf", "imagefolder", "webdataset"), 3.2)
"""PNG of a noisy image with matte and mask; each format holds the same bytes once more."""
STEP_RENDERS = {"two-sided": 14.0, "auto": 10.0, "fixed": 10.0}
BATCH_RENDERS = 7.6
"""What a step, and a batch of self-training, cost for each image of the batch, in renders of one
image: CPU time on toy-cars."""
TERMS = {
    True: "commercial use is allowed",
    False: "no commercial use",
    None: "terms unknown, find out before you use the images",
}
LONG_SECONDS = 24 * 3600.0  # from here on a plan advises another device or several jobs


def plan_dataset(config: MakeConfig) -> dict[str, Any]:
    """Return what a call of ``make_dataset`` would take, as plain values for JSON.

    None stands where something cannot be known before a download. Refuses what ``make_dataset``
    would refuse before it renders, as far as it shows already.
    """
    recipe, number, out = config.recipe, config.number, config.out
    ownership.refuse_shared_overwrite(config.overwrite, config.share)
    free = None
    if isinstance(out, Path):
        ownership.refuse_foreign(out)
        if not config.overwrite and not config.share:
            ownership.refuse_fewer(out, ownership.Asked(number, config.count), str(out))
        place = out.absolute()
        free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.is_dir())).free
    sweep = sweep_of(recipe.sampling)
    Quota(number, config.count, sweep)
    backgrounds_of(recipe.output)
    device, *_ = choose_devices(config.devices or (config.device,))
    named = recipe.alpha.weights
    plan: dict[str, Any] = {
        "out": str(out),
        "samples": number,
        "count": config.count,
        "psi": list(recipe.sampling.psi),
        "first": sweep.draw(0).key,
        "last": sweep.draw(number - 1).key,
        "shard_size": sweep.shard_size,
        "block_size": sweep.block_size,
        "formats": list(recipe.output.formats),
        "generator": _generator_facts(config),
        "alpha": {"weights": named, "training_steps": None},
        "device": device.type,
        **dict.fromkeys(("images_per_second", "seconds", "disk_bytes")),
        "free_bytes": free,
        "recipe": recipe.dump(),
    }
    if plan["generator"]["download"] is not None:
        if named is not None:
            open_alpha(local_weights(named, "alpha"))
        return plan | {"warnings": []}
    logger.info("opening the generator")
    checkpoint, generator = networks.obtain_generator(recipe.generator, device)
    side = checkpoint.spec.resolution
    left, top, right, bottom = recipe.generator.crop or (0, 0, side, side)
    pixels = (right - left) * (bottom - top) * number
    plan["generator"]["resolution"] = side
    plan["disk_bytes"] = round(sum(BYTES_A_PIXEL[n] for n in recipe.output.formats) * pixels)
    renderer = renderer_of(recipe, generator, None, labelled=True)
    if named is None:
        path = cached_training(recipe.alpha, checkpoint, recipe.generator.crop) / RESULT
    else:
        path = local_weights(named, "alpha")
    if named is None and not path.exists():
        plan["alpha"]["training_steps"] = recipe.alpha.training.steps
    else:
        opened = networks.fitting_checkpoint(path, checkpoint)
        renderer = replace(renderer, alpha=opened.build().to(device))
        doubts: networks.Doubts = "warn" if config.accept_doubtful_alpha else "refuse"
        networks.settle_doubts(recipe, opened, renderer, doubts, said=False)
    logger.info("measuring the speed")
    draws = renderer.pieces(next(sweep.shard(0)))[0]
    renderer.render(draws[:1])  # the first call also pays for kernels that are chosen once
    started = time.monotonic()
    renderer.render(draws)
    per_image = (time.monotonic() - started) / len(draws)
    if plan["alpha"]["training_steps"]:
        plan["alpha"]["seconds"] = per_image * training_renders(recipe.alpha.training)
    if device.type == "cpu":
        per_image /= len(render_threads([renderer], config.workers))
    plan |= {"images_per_second": 1 / per_image, "seconds": per_image * number}
    return plan | {"warnings": _warnings(plan)}


def plan_text(plan: Mapping[str, Any]) -> str:
    """Format a plan in about ten lines, in human units."""
    generator, alpha = plan["generator"], plan["alpha"]
    psi = ", ".join(f"{value:g}" for value in plan["psi"])
    size = f", {generator['resolution']} px" if generator["resolution"] else ""
    lines = {
        "output": f"{plan['out']} ({', '.join(plan['formats'])})",
        "samples": f"{plan['samples']:,} {plan['count']} at psi {psi}, from {plan['first']} on",
        "generator": f"{generator['weights']}{size}",
        "licence": f"{generator['licence']}: {TERMS[generator['commercial']]}",
        "download": "nothing",
        "alpha": alpha["weights"] or "trained already, in the cache",
        **dict.fromkeys(("speed", "time", "disk"), "known after the download"),
    }
    if generator["download"] is not None:
        bytes_ = generator["download"]["bytes"]
        amount = size_text(bytes_) if bytes_ else "a file of unknown size"
        lines["download"] = f"{amount} from {generator['download']['url']}"
    if alpha["training_steps"]:
        duration = duration_text(alpha["seconds"])
        lines["alpha"] = f"trained first: {alpha['training_steps']} steps, about {duration}"
    elif alpha["weights"] is None and generator["download"] is not None:
        lines["alpha"] = "trained first, after the download"
    if plan["seconds"] is not None:
        lines["speed"] = f"{plan['images_per_second']:.3g} images/s on {plan['device']}"
        lines["time"] = f"about {duration_text(plan['seconds'])} to render"
        free = plan["free_bytes"]
        lines["disk"] = f"about {size_text(plan['disk_bytes'])}"
        lines["disk"] += "" if free is None else f" of {size_text(free)} free"
    text = [f"{name:10s} {value}" for name, value in lines.items()]
    return "\n".join([*text, *(f"Warning: {words}" for words in plan["warnings"])])


def _generator_facts(config: MakeConfig) -> dict[str, Any]:
    part = config.recipe.generator
    weights = part.weights or ""
    path = local_weights(weights, "generator")
    kind, _, name = weights.partition(":")
    download = None
    if not path.is_file() and kind == "catalogue":
        download = {"url": WEIGHTS[name].url, "bytes": WEIGHTS[name].size}
    elif not path.is_file() and kind in ("http", "https"):
        download = {"url": weights, "bytes": None}
    return {
        "weights": part.weights,
        "file": str(path),
        "resolution": WEIGHTS[name].resolution if kind == "catalogue" else None,
        "licence": part.licence.name,
        "commercial": part.licence.commercial,
        "download": download,
    }


def _warnings(plan: Mapping[str, Any]) -> list[str]:
    found = []
    takes, free = plan["disk_bytes"], plan["free_bytes"]
    if free is not None and takes > free:
        sizes = f"about {size_text(takes)}, only {size_text(free)} are free"
        found.append(f"the dataset takes {sizes}: name another --out or fewer --formats")
    seconds = plan["seconds"] + (plan["alpha"].get("seconds") or 0)
    if seconds > LONG_SECONDS:
        advice = "use a GPU with --device cuda, or several jobs with --shard"
        found.append(f"this takes about {duration_text(seconds)}: {advice}")
    return found


def training_renders(part: TrainingPart, steps: int | None = None) -> float:
    """Return what a training costs, in renders of one image; ``steps`` replaces the recipe's."""
    adversarial = (steps or part.steps) * STEP_RENDERS[part.balance]
    if part.balance == "two-sided" and part.min_bg_coverage is None:
        adversarial *= 2  # the first attempt measures the object; large ones need no second
    return part.batch * (adversarial + part.self_training * BATCHES * BATCH_RENDERS)
