"""A benchmark from its folder to its tables: finished parts are used, missing ones are computed.

```
images/KEY.png      the scored images, also for external tools
truth/              the U-Net of a toy domain and the masks it drew
unrelated/          empty grounds, for backgrounds from unrelated images
networks/           every trained network, METHOD-seedN, with its curves and previews
rows/               the scores of each method, seed and set of images
tables.txt, tables.csv, figure.png
```
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from l4f_datagen.annotations.drawing import decode_coco_rle
from l4f_datagen.benchmark import bench as benches
from l4f_datagen.benchmark import methods, supervised, tables
from l4f_datagen.benchmark import truth as truths
from l4f_datagen.benchmark.bench import Bench, BenchmarkConfig, Method, Row, blocks_of
from l4f_datagen.benchmark.supervised import TRUTH, digest_of, eval_renders
from l4f_datagen.benchmark.tables import RENDERS, line_of, on_psi
from l4f_datagen.benchmark.truth import Truth
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.photographs import check_photographs
from l4f_datagen.io.stores import open_store
from l4f_datagen.io.training_folder import claim_folder, hold_folder
from l4f_datagen.models.devices import choose_device
from l4f_datagen.pipeline.networks import obtain_generator

logger = logging.getLogger(__name__)

OTHER = "holds a benchmark of another generator, number of images or way of sampling"


def run_benchmark(config: BenchmarkConfig) -> str:
    """Compare methods on one domain; the same command resumes.

    Returns the tables as text, or with ``images_only`` the folder of the images.
    """
    methods.check_config(config)
    started = time.monotonic()
    bench = open_bench(config)
    chosen: dict[str, Method] = {}
    if not config.images_only:
        # Everything that can be refused is refused here, not after hours of training.
        truths.check_truth(bench)
        chosen = methods.choose_methods(bench, config.methods)
        if config.unrelated is not None:
            store = open_store(str(config.unrelated), side=bench.side, offline=config.offline)
            check_photographs(store, bench.side)
        for name, method in chosen.items():
            if not all(is_measured(bench, name, method, seed) for seed in config.training_seeds):
                method.check(bench)
    claim_folder(config.out, identity(bench), other=OTHER)
    with hold_folder(config.out):
        return _measured(bench, chosen, started)


def _measured(bench: Bench, chosen: dict[str, Method], started: float) -> str:
    """Draw the images and measure the methods, alone in the folder."""
    config = bench.config
    if config.images_only:
        psis = ", ".join(f"{psi:g}" for psi in config.psis)
        logger.info(f"{config.num_images:,} images at psi {psis}")
        bench.write_images()
        return str(config.out / benches.IMAGES)
    speed, steps = methods.measure_speed(bench), config.steps
    if config.trial and steps is None:
        steps = methods.trial_steps(bench, chosen, speed)
        bench = replace(bench, config=replace(config, steps=steps))
    logger.info(methods.estimate_text(bench, chosen, speed, steps))
    bench.write_images()
    tools = {name: truths.external_method(bench, path) for name, path in config.external.items()}
    truth = truths.open_truth(bench)
    shares = []
    for psi in config.psis:
        masks = [truth.masks.block(draws)[0] for draws in blocks_of(bench.eval_draws(psi))]
        shares.append(f"{np.concatenate(masks).mean():.3f} at psi {psi:g}")
    head = f"{truth_text(bench, truth)}\nthe object covers {', '.join(shares)}"
    logger.info(head)
    last_start = started + methods.LAST_START * methods.TRIAL_SECONDS if config.trial else math.inf
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    seeds, chosen = config.training_seeds, chosen | tools
    for seed in seeds:  # outside: one whole table early, the others later
        for name, method in chosen.items():
            # In time, or nothing is left to do but to read.
            timely = time.monotonic() <= last_start or is_measured(bench, name, method, seed)
            if (seed == seeds[0] or method.seeded) and timely:
                for row in measure_method(bench, name, method, seed, truth):
                    found[name, row.on].append(row)
    rows = {key: found[key] for name in chosen for key in found if key[0] == name}
    if config.trial:
        left_out = [name for name in chosen if not any(name == key[0] for key in rows)]
        head = f"{methods.trial_text(bench, left_out)}\n{head}"
    return write_results(bench, head, rows, truth)


def open_bench(config: BenchmarkConfig) -> Bench:
    """Open the generator; errors as ``networks.obtain_generator``."""
    sampling = config.recipe.sampling.model_copy(update={"latents": None})
    recipe = config.recipe.model_copy(update={"sampling": sampling})
    device, offline = choose_device(config.device), config.offline
    return Bench(config, recipe, *obtain_generator(recipe.generator, device, offline=offline))


def is_measured(bench: Bench, name: str, method: Method, seed: int) -> bool:
    """Whether the rows of a method and training seed are there."""
    out, seed = bench.config.out, seed if method.seeded else 0
    paths = (benches.row_path(out, name, seed, on_psi(psi)) for psi in bench.config.psis)
    return all(path.exists() for path in paths)


def identity(bench: Bench) -> str:
    """Name what decides the images, and how alpha becomes a mask."""
    recipe = bench.recipe
    sampling = recipe.sampling.model_dump(mode="json")
    own = ("noise_mode", "precision", "style_mixing", "truncation_cutoff", "mask_cleanup", "refine")
    named = {
        "generator": bench.checkpoint.fingerprint,
        "crop": recipe.generator.crop,
        "sampling": {name: sampling[name] for name in own},
        "mask_threshold": recipe.output.mask_threshold,
        "images": [benches.EVAL_SEED, bench.config.num_images],
    }
    return digest_of(named | ({"trial": True} if bench.config.trial else {}))


def truth_text(bench: Bench, truth: Truth) -> str:
    """Describe the truth and, of a network, how it scores where the masks are exact."""
    if truth.net is None:
        return f"Truth: masks in {truth.masks.path}"
    settings, sizes = next(iter(truth.digests.values())), supervised.unet_sizes(bench)
    facts: dict[str, Any] = {"method": TRUTH, "seed": 0, "on": RENDERS, "settings": settings}
    row = benches.load_row(bench.config.out, **facts, images=sizes.eval_scenes)
    if row is None:
        prepared = benches.Prepared(partial(supervised.mask, truth.net))
        tested = eval_renders(bench, sizes.eval_scenes)
        row = benches.measure(bench.config.out, prepared, tested, **facts)
    line = line_of([row], None)
    scores = ", ".join(f"{name} {score.value:.4f}" for name, score in line.scores.items())
    trained = f"a U-Net trained on {sizes.scenes:,} renders with exact masks"
    return f"Truth: {trained}; on {line.num_images:,} others it scores\n{scores}"


def measure_method(bench: Bench, name: str, method: Method, seed: int, truth: Truth) -> list[Row]:
    """Return the rows of one training; it is only trained if one of them is missing."""
    out, images, seed = bench.config.out, bench.config.num_images, seed if method.seeded else 0
    wanted: dict[str, tuple[str, float | None]] = {}
    wanted |= {on_psi(psi): (digest, psi) for psi, digest in truth.digests.items()}
    if method.takes_renders and bench.is_toy:
        wanted[RENDERS] = (f"{bench.recipe.domain} {images}", None)
    own, prepared = method.settings(bench), None
    rows, spent_s = [], 0.0
    for on, (against, psi) in wanted.items():
        settings, row = digest_of([own, against]), None
        facts: dict[str, Any] = {"method": name, "seed": seed, "on": on, "settings": settings}
        if name in methods.METHODS:  # an external tool's masks may have changed: read again
            row = benches.load_row(out, **facts, images=images)
        if row is None:
            if prepared is None:
                fresh = not bench.network_folder(name, seed).exists()
                started = time.process_time()
                prepared = method.prepare(bench, seed)
                # The time is only known if nothing of the network was there before.
                spent_s = round(time.process_time() - started, 1) if fresh else 0.0
            tested = eval_renders(bench, images) if psi is None else truth.tested(bench, psi)
            row = benches.measure(out, prepared, tested, training_cpu_s=spent_s, **facts)
            miou = line_of([row], psi).scores["miou"].value
            logger.info(f"{name}, training seed {seed}, {on}: mIoU {miou:.4f}")
        rows.append(row)
    return rows


def write_results(
    bench: Bench, head: str, rows: Mapping[tuple[str, str], list[Row]], truth: Truth
) -> str:
    """Write text, CSV and figure; return the text."""
    config = bench.config
    psi_of = {on_psi(psi): psi for psi in config.psis}
    lines = {(name, on): line_of(seeds, psi_of.get(on)) for (name, on), seeds in rows.items()}
    built = tables.build_tables(lines, config.psis, list(config.external))
    text = tables.tables_text(built, head)
    if not config.trial:
        follows = (truths.samples_text(bench, truth), truths.snapshots_text(bench, truth))
        text = "\n\n".join(filter(None, (text, *follows)))
    write_atomically(config.out / "tables.txt", (text + "\n").encode())
    table = tables.tables_csv(built, "trial" if config.trial else "")
    write_atomically(config.out / "tables.csv", table.encode())
    psi = max(config.psis)
    draws = next(blocks_of(bench.eval_draws(psi)))[: benches.SHOWN]
    shown = [("truth", list(truth.masks.block(draws)[0]))]
    for (name, on), (first, *_) in rows.items():
        if on == on_psi(psi):
            shown.append((name, [decode_coco_rle(rle, None, name) for rle in first.shown]))
    page = tables.figure(list(bench.read_block(draws).images), shown)
    save_png(page, config.out / "figure.png")
    return text
