"""What a run would take: the dry run of ``make``. Touches no file."""

import time
from typing import Any

from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of
from l4f_datagen.dataset.ownership import refuse_shared_overwrite
from l4f_datagen.models.devices import choose_devices
from l4f_datagen.pipeline.job import Job
from l4f_datagen.pipeline.local_engine import render_threads
from l4f_datagen.pipeline.networks import fitting_alpha, obtain_generator
from l4f_datagen.recipe.domains import local_weights
from l4f_datagen.rendering.plan import sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import renderer_of

BYTES_A_PIXEL = {
    **{"png": 3.2, "coco": 0.05, "hf": 3.2},
    **{"imagefolder": 3.2, "webdataset": 3.2, "yolo": 3.0},
}
"""PNG of a noisy picture with matte and mask; each format holds the same bytes once more."""


def estimate(job: Job) -> dict[str, Any]:
    """Return the resolved recipe, the plan, and how much disk and time it should take.

    The time comes from one block rendered here and now; where the alpha network has still to be
    trained, or the generator to be fetched, it says so instead.

    Raises:
        L4FError: what `make_dataset` would refuse before it renders, as far as it shows already.
    """
    refuse_shared_overwrite(job.overwrite, job.share)
    recipe = job.recipe
    sweep = sweep_of(recipe.sampling)
    Quota(job.number, job.count, sweep)
    backgrounds_of(recipe.output)
    device, *_ = choose_devices(job.devices or (job.device,))
    first, last = sweep.draw(0), sweep.draw(job.number - 1)
    plan = {
        "recipe": recipe.dump(),
        "out": str(job.out),
        "samples": f"{job.number} {job.count}",
        "first": first.key,
        "last": f"{last.key} if none is rejected",
        "shards": f"of {sweep.shard_size} samples, in blocks of {sweep.block_size}",
    }
    weights = recipe.generator.weights or ""
    path = local_weights(weights, "generator")
    if weights.startswith(("catalogue:", "http:", "https:")) and not path.is_file():
        if recipe.alpha.weights is not None:
            open_alpha(local_weights(recipe.alpha.weights, "alpha"))
        return plan | {"generator": f"{path} is not there yet", "time": "unknown"}
    checkpoint, generator = obtain_generator(recipe.generator, device)
    left, top, right, bottom = recipe.generator.crop or (0, 0, *(checkpoint.spec.resolution,) * 2)
    pixels = (right - left) * (bottom - top) * job.number
    size = sum(BYTES_A_PIXEL[name] for name in recipe.output.formats) * pixels
    plan |= {"generator": str(path), "disk": f"about {size / 1e6:,.0f} MB"}
    if recipe.alpha.weights is None:
        steps = recipe.alpha.training.steps
        plan["alpha"] = f"trained first, {steps} steps, unless the cache has it"
        renderer = renderer_of(recipe, generator, None)
    else:
        alpha_path = local_weights(recipe.alpha.weights, "alpha")
        plan["alpha"] = str(alpha_path)
        renderer = renderer_of(recipe, generator, fitting_alpha(alpha_path, checkpoint))
    block = next(sweep.shard(0))
    renderer.render(block)  # the first call also pays for kernels that are chosen once
    started = time.monotonic()
    renderer.render(block)
    seconds = (time.monotonic() - started) / len(block) * job.number
    if renderer.device.type == "cpu":
        seconds /= len(render_threads([renderer], job.workers))
    return plan | {"time": f"about {seconds / 60:.1f} minutes to render"}
