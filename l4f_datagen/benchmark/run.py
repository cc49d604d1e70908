"""A benchmark from its folder to its tables: what is there is used, what is missing is computed.

```
images/KEY.png      the pictures, for tools from outside too
truth/              the U-Net of a toy domain and the masks it drew
unrelated/          bare grounds, for backgrounds from unrelated pictures
networks/           every trained network, METHOD-seedN, with its curves and previews
rows/               what each labelling scored
tables.txt, tables.csv, figure.png
```
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from l4f_datagen.benchmark import supervised
from l4f_datagen.benchmark.bench import Bench, Method, Prepared
from l4f_datagen.benchmark.figure import figure
from l4f_datagen.benchmark.images import IMAGES, blocks_of, read_block, write_images
from l4f_datagen.benchmark.job import (
    TRUTH_NET,
    Job,
    check_methods,
    check_outside,
    check_psis,
    identity,
    open_bench,
    open_outside,
    psi_of,
)
from l4f_datagen.benchmark.methods import METHODS, check_names, choose_methods
from l4f_datagen.benchmark.rows import SHOWN, Row, Stopwatch, load_row, measure, save_row
from l4f_datagen.benchmark.tables import (
    RENDERS,
    Table,
    build_tables,
    line_of,
    on_psi,
    tables_csv,
    tables_text,
)
from l4f_datagen.benchmark.truth import Truth, check_truth, digest_of, open_truth, renders
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.photographs import check_photographs
from l4f_datagen.io.stores import open_store
from l4f_datagen.io.training_folder import claim_folder

logger = logging.getLogger(__name__)

OTHER = "holds a benchmark of another generator, number of images or way of sampling"


def run_benchmark(job: Job) -> str:
    """Compare methods on one domain; the same command resumes.

    Returns:
        The tables as text, or with ``images_only`` where the pictures are.

    Raises:
        UsageError: unknown or impossible methods, no truth, a folder of another benchmark.
        InputRefused: masks from outside that are missing, broken or of another size; pictures or
            weights of a method that cannot be used.
        L4FError: a training failed.
    """
    check_names(job.methods or ())
    check_outside(job.outside)
    check_psis(job.psis)
    bench = open_bench(job)
    if not job.images_only:
        check_truth(bench, job.truth)
        chosen = choose_methods(bench, job.methods)
        if job.unrelated is not None:  # rather now than after hours of training
            resolution = bench.generator.spec.resolution
            store = open_store(str(job.unrelated), side=resolution, offline=job.offline)
            check_photographs(store, resolution)
        check_methods(bench, job, chosen)
    claim_folder(job.out, identity(bench), other=OTHER)
    logger.info(f"{job.num_images:,} pictures at psi {', '.join(f'{psi:g}' for psi in job.psis)}")
    write_images(bench, job.psis)
    if job.images_only:
        return str(job.out / IMAGES)
    outside = {name: open_outside(bench, job, path) for name, path in job.outside.items()}
    truth = open_truth(bench, job.psis, job.truth)
    head = truth_words(bench, truth)
    head += f"\n{coverage_words(bench, truth, job.psis)}"
    logger.info(head)
    rows = measure_all(bench, job, chosen | outside, truth)
    lines = {
        (name, on): line_of(of_seeds, psi_of(job, on)) for (name, on), of_seeds in rows.items()
    }
    tables = build_tables(lines, job.psis, list(outside))
    return write_results(bench, job, tables, head, rows, truth)


def truth_words(bench: Bench, truth: Truth) -> str:
    """Say what the truth is and, of a network, how it scores where the masks are exact."""
    if truth.net is None:
        return f"Truth: masks in {truth.masks.path}"
    net, settings = truth.net, next(iter(truth.digests.values()))
    images = supervised.LESSONS.exam_scenes
    row = load_row(bench.out, TRUTH_NET, 0, RENDERS, settings, images=images)
    if row is None:
        prepared = Prepared(partial(supervised.mask, net))
        tested = renders(bench, images)
        facts = {"method": TRUTH_NET, "seed": 0, "on": RENDERS, "settings": settings}
        row = measure(prepared, tested, **facts)
        save_row(bench.out, row)
    line = line_of([row], None)
    scores = ", ".join(f"{name} {score.value:.4f}" for name, score in line.scores.items())
    learnt = f"a U-Net that learnt from {supervised.LESSONS.scenes:,} renders with exact masks"
    return f"Truth: {learnt}; on {line.num_images:,} others it scores\n{scores}"


def coverage_words(bench: Bench, truth: Truth, psis: Sequence[float]) -> str:
    """Say how much of the pictures the true object covers, to hold a method's plumpness against."""
    shares = []
    for psi in psis:
        masks = [truth.masks.block(draws)[0] for draws in blocks_of(bench.draws(psi))]
        shares.append(f"{np.mean([mask.mean() for of in masks for mask in of]):.3f} at psi {psi:g}")
    return f"the object covers {', '.join(shares)}"


def measure_all(
    bench: Bench, job: Job, methods: Mapping[str, Method], truth: Truth
) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of all methods, (method, pictures) -> one a training seed."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for seed in job.training_seeds:
        for name, method in methods.items():
            if seed == job.training_seeds[0] or method.seeded:
                numbered = seed if method.seeded else 0
                for row in measure_method(bench, job, name, method, numbered, truth):
                    rows.setdefault((name, row.on), []).append(row)
    # In the order of the methods, whatever the order they were measured in.
    return {key: rows[key] for name in methods for key in rows if key[0] == name}


def measure_method(
    bench: Bench, job: Job, name: str, method: Method, seed: int, truth: Truth
) -> list[Row]:
    """Return the rows of one training; it is trained only when one of them is missing."""
    wanted = {on_psi(psi): truth.digests[psi] for psi in job.psis}
    if method.pictures_alone and bench.is_toy:
        wanted[RENDERS] = f"{bench.recipe.domain} {job.num_images}"
    own = method.settings(bench)
    prepared: Prepared | None = None
    found, spent = [], 0.0
    for on, against in wanted.items():
        settings = digest_of([own, against])
        row = None
        if name in METHODS:
            row = load_row(bench.out, name, seed, on, settings, images=job.num_images)
        if row is None:
            if prepared is None:
                fresh = not bench.network_folder(name, seed).exists()
                watch = Stopwatch()
                prepared = method.prepare(bench, seed)
                # Of a network that was there already, or in part, nothing is known.
                spent = watch.seconds() if fresh else 0.0
            psi = psi_of(job, on)
            tested = renders(bench, job.num_images) if psi is None else truth.tested(bench, psi)
            facts = {"method": name, "seed": seed, "on": on, "settings": settings}
            row = measure(prepared, tested, training_cpu_s=spent, **facts)
            save_row(bench.out, row)
            scores = line_of([row], psi).scores
            logger.info(f"{name}, training seed {seed}, {on}: mIoU {scores['miou'].value:.4f}")
        found.append(row)
    return found


def write_results(
    bench: Bench,
    job: Job,
    tables: Sequence[Table],
    head: str,
    rows: Mapping[tuple[str, str], list[Row]],
    truth: Truth,
) -> str:
    """Write text, CSV and figure; return the text."""
    text = tables_text(tables, head)
    write_atomically(job.out / "tables.txt", (text + "\n").encode())
    write_atomically(job.out / "tables.csv", tables_csv(tables).encode())
    psi = max(job.psis)
    draws = next(blocks_of(bench.draws(psi)))[:SHOWN]
    drawn = [("truth", list(truth.masks.block(draws)[0]))]
    drawn += [(name, of[0].masks) for (name, on), of in rows.items() if on == on_psi(psi)]
    save_png(figure(list(read_block(bench, draws).images), drawn), job.out / "figure.png")
    return text
