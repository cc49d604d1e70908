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
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from l4f_datagen.benchmark import methods, supervised
from l4f_datagen.benchmark.bench import (
    EVAL_SEED,
    IMAGES,
    SHOWN,
    Bench,
    BenchmarkConfig,
    Method,
    Prepared,
    Row,
    blocks_of,
    load_row,
    measure,
    row_path,
    save_row,
)
from l4f_datagen.benchmark.follows import follows_text
from l4f_datagen.benchmark.supervised import TRUTH, digest_of, eval_renders
from l4f_datagen.benchmark.tables import (
    RENDERS,
    build_tables,
    figure,
    line_of,
    on_psi,
    tables_csv,
    tables_text,
)
from l4f_datagen.benchmark.truth import (
    Truth,
    check_truth,
    external_method,
    open_truth,
)
from l4f_datagen.core.errors import UsageError
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
    check_config(config)
    started = time.monotonic()
    bench = open_bench(config)
    chosen: dict[str, Method] = {}
    if not config.images_only:
        # Everything that can be refused is refused here, not after hours of training.
        check_truth(bench)
        chosen = methods.choose_methods(bench, config.methods)
        if config.unrelated is not None:
            side = bench.generator.spec.resolution
            store = open_store(str(config.unrelated), side=side, offline=config.offline)
            check_photographs(store, side)
        check_methods(bench, chosen)
    claim_folder(config.out, identity(bench), other=OTHER)
    with hold_folder(config.out):
        return _measured(bench, chosen, started)


def _measured(bench: Bench, chosen: dict[str, Method], started: float) -> str:
    """Draw the images and measure the methods, alone in the folder."""
    config = bench.config
    psis = ", ".join(f"{psi:g}" for psi in config.psis)
    if config.images_only:
        logger.info(f"{config.num_images:,} images at psi {psis}")
        bench.write_images()
        return str(config.out / IMAGES)
    speed, steps = methods.measure_speed(bench), config.steps
    if config.trial and steps is None:
        steps = methods.trial_steps(bench, chosen, speed)
        bench = replace(bench, config=replace(config, steps=steps))
    logger.info(methods.estimate_text(bench, chosen, speed, steps))
    bench.write_images()
    tools = {name: external_method(bench, path) for name, path in config.external.items()}
    truth = open_truth(bench)
    head = f"{truth_text(bench, truth)}\n{coverage_text(bench, truth)}"
    logger.info(head)
    last_start = started + methods.LAST_START * methods.TRIAL_SECONDS if config.trial else math.inf
    rows = measure_all(bench, chosen | tools, truth, last_start)
    if config.trial:
        left_out = [name for name in chosen if not any(found == name for found, _ in rows)]
        head = f"{methods.trial_text(bench, left_out)}\n{head}"
    return write_results(bench, head, rows, truth)


def check_config(config: BenchmarkConfig) -> None:
    """Refuse what needs no network to be refused."""
    methods.check_names(config.methods or ())
    for name in config.external:
        if name in methods.METHODS or name == TRUTH:
            raise UsageError(f"--pred {name}", "is the name of a method", "choose another name")
    if len({on_psi(psi) for psi in config.psis}) < len(config.psis):
        named = ", ".join(f"{psi:g}" for psi in config.psis)
        remedy = "keep psi at least 0.001 apart"
        raise UsageError(f"--psi {named}", "two of them agree to three decimals", remedy)


def open_bench(config: BenchmarkConfig) -> Bench:
    """Open the generator; errors as ``networks.obtain_generator``."""
    sampling = config.recipe.sampling.model_copy(update={"latents": None})
    recipe = config.recipe.model_copy(update={"sampling": sampling})
    device = choose_device(config.device)
    opened = obtain_generator(recipe.generator, device, offline=config.offline)
    return Bench(config, recipe, *opened)


def check_methods(bench: Bench, chosen: Mapping[str, Method]) -> None:
    """Check every method that still has to be trained; errors as ``Method.check``."""
    for name, method in chosen.items():
        seeds = bench.config.training_seeds if method.seeded else (0,)
        if not all(is_measured(bench, name, method, seed) for seed in seeds):
            method.check(bench)


def is_measured(bench: Bench, name: str, method: Method, seed: int) -> bool:
    """Whether the rows of a method and training seed are there."""
    seed, psis = seed if method.seeded else 0, bench.config.psis
    return all(row_path(bench.config.out, name, seed, on_psi(psi)).exists() for psi in psis)


def identity(bench: Bench) -> str:
    """Name what decides the images, and how alpha becomes a mask."""
    recipe = bench.recipe
    sampling = recipe.sampling.model_dump(mode="json")
    own = ("noise_mode", "precision", "style_mixing", "truncation_cutoff", "mask_cleanup", "refine")
    return digest_of(
        {
            "generator": bench.checkpoint.fingerprint,
            "crop": recipe.generator.crop,
            "sampling": {name: sampling[name] for name in own},
            "mask_threshold": recipe.output.mask_threshold,
            "images": [EVAL_SEED, bench.config.num_images],
        }
        | ({"trial": True} if bench.config.trial else {})
    )


def truth_text(bench: Bench, truth: Truth) -> str:
    """Describe the truth and, of a network, how it scores where the masks are exact."""
    if truth.net is None:
        return f"Truth: masks in {truth.masks.path}"
    settings, number = next(iter(truth.digests.values())), supervised.unet_sizes(bench).eval_scenes
    row = load_row(bench.config.out, TRUTH, 0, RENDERS, settings, images=number)
    if row is None:
        prepared = Prepared(partial(supervised.mask, truth.net))
        facts = {"method": TRUTH, "seed": 0, "on": RENDERS, "settings": settings}
        row = measure(prepared, eval_renders(bench, number), **facts)
        save_row(bench.config.out, row)
    line = line_of([row], None)
    scores = ", ".join(f"{name} {score.value:.4f}" for name, score in line.scores.items())
    trained = f"a U-Net trained on {supervised.unet_sizes(bench).scenes:,} renders with exact masks"
    return f"Truth: {trained}; on {line.num_images:,} others it scores\n{scores}"


def coverage_text(bench: Bench, truth: Truth) -> str:
    """Say how much of the images the true object covers."""
    shares = []
    for psi in bench.config.psis:
        masks = [truth.masks.block(draws)[0] for draws in blocks_of(bench.eval_draws(psi))]
        shares.append(f"{np.mean([mask.mean() for of in masks for mask in of]):.3f} at psi {psi:g}")
    return f"the object covers {', '.join(shares)}"


def measure_all(
    bench: Bench, chosen: Mapping[str, Method], truth: Truth, last_start: float = math.inf
) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of all methods: (method, images) -> one row per training seed.

    After ``last_start`` on the monotonic clock only what is measured already is read.
    """
    rows: dict[tuple[str, str], list[Row]] = {}
    seeds = bench.config.training_seeds
    for seed in seeds:  # outside: one whole table early, the others later
        for name, method in chosen.items():
            late = time.monotonic() > last_start and not is_measured(bench, name, method, seed)
            if (seed == seeds[0] or method.seeded) and not late:
                for row in measure_method(bench, name, method, seed, truth):
                    rows.setdefault((name, row.on), []).append(row)
    return {key: rows[key] for name in chosen for key in rows if key[0] == name}


def measure_method(bench: Bench, name: str, method: Method, seed: int, truth: Truth) -> list[Row]:
    """Return the rows of one training; it is only trained if one of them is missing."""
    seed, images = seed if method.seeded else 0, bench.config.num_images
    wanted: dict[str, tuple[str, float | None]] = {}
    wanted |= {on_psi(psi): (digest, psi) for psi, digest in truth.digests.items()}
    if method.takes_renders and bench.is_toy:
        wanted[RENDERS] = (f"{bench.recipe.domain} {images}", None)
    own = method.settings(bench)
    prepared: Prepared | None = None
    rows, spent_s = [], 0.0
    for on, (against, psi) in wanted.items():
        settings, row = digest_of([own, against]), None
        if name in methods.METHODS:  # an external tool's masks may have changed: read again
            row = load_row(bench.config.out, name, seed, on, settings, images=images)
        if row is None:
            if prepared is None:
                fresh = not bench.network_folder(name, seed).exists()
                started = time.process_time()
                prepared = method.prepare(bench, seed)
                # The time is only known if nothing of the network was there before.
                spent_s = round(time.process_time() - started, 1) if fresh else 0.0
            tested = eval_renders(bench, images) if psi is None else truth.tested(bench, psi)
            facts = {"method": name, "seed": seed, "on": on, "settings": settings}
            row = measure(prepared, tested, training_cpu_s=spent_s, **facts)
            save_row(bench.config.out, row)
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
    tables = build_tables(lines, config.psis, list(config.external))
    text = tables_text(tables, head)
    if not config.trial and (follows := follows_text(bench, truth)):
        text = f"{text}\n\n{follows}"
    write_atomically(config.out / "tables.txt", (text + "\n").encode())
    write_atomically(
        config.out / "tables.csv", tables_csv(tables, "trial" if config.trial else "").encode()
    )
    psi = max(config.psis)
    draws = next(blocks_of(bench.eval_draws(psi)))[:SHOWN]
    shown = [("truth", list(truth.masks.block(draws)[0]))]
    shown += [(name, seeds[0].masks) for (name, on), seeds in rows.items() if on == on_psi(psi)]
    save_png(figure(list(bench.read_block(draws).images), shown), config.out / "figure.png")
    return text
