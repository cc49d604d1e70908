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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from l4f_datagen.alpha.stores import open_store
from l4f_datagen.benchmark import supervised
from l4f_datagen.benchmark.bench import FIRST_SEED, Bench, Method, Prepared, Say
from l4f_datagen.benchmark.figure import figure
from l4f_datagen.benchmark.mask_folder import MaskFolder, outside_method
from l4f_datagen.benchmark.methods import METHODS, check_names, choose_methods
from l4f_datagen.benchmark.pictures import IMAGES, blocks_of, read_block, write_images
from l4f_datagen.benchmark.rows import (
    SHOWN,
    Row,
    Stopwatch,
    load_row,
    measure,
    row_path,
    save_row,
)
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
from l4f_datagen.dataset.disk import write_atomically
from l4f_datagen.errors import UsageError
from l4f_datagen.recipe import Recipe
from l4f_datagen.report.figures import save_png
from l4f_datagen.training_folder import claim_folder
from l4f_datagen.weights import choose_device, obtain_generator

OTHER = "holds a benchmark of another generator, number of images or way of sampling"
TRUTH_NET = "truth"


@dataclass(frozen=True)
class Job:
    """What to compare.

    Attributes:
        recipe: of the domain.
        out: the benchmark's folder.
        methods: names from ``METHODS``; None: all that can run.
        training_seeds: one training of every trained method each.
        num_images: pictures at every psi.
        psis: truncations.
        steps: length of every method's training; None: each method's own.
        truth: folder of masks to score against; None: a toy domain's own.
        unrelated: folder of pictures for ``unrelated-backgrounds``.
        outside: name -> folder of masks of a tool from outside.
        images_only: write the pictures and stop.
        device: see ``weights.choose_device``.
        offline: fetch nothing.
    """

    recipe: Recipe
    out: Path
    methods: tuple[str, ...] | None = None
    training_seeds: tuple[int, ...] = (0, 1, 2)
    num_images: int = 1_000
    psis: tuple[float, ...] = (1.0,)
    steps: int | None = None
    truth: Path | None = None
    unrelated: Path | None = None
    outside: Mapping[str, Path] = field(default_factory=dict)
    images_only: bool = False
    device: str = "auto"
    offline: bool = False


def run_benchmark(job: Job, say: Say) -> str:
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
    bench = open_bench(job, say)
    if not job.images_only:
        check_truth(bench, job.truth)
        chosen = choose_methods(bench, job.methods)
        if job.unrelated is not None:  # rather now than after hours of training
            resolution = bench.generator.spec.resolution
            open_store(str(job.unrelated), resolution, offline=job.offline)
        check_methods(bench, job, chosen)
    claim_folder(job.out, identity(bench), other=OTHER)
    say(f"{job.num_images:,} pictures at psi {', '.join(f'{psi:g}' for psi in job.psis)}")
    write_images(bench, job.psis)
    if job.images_only:
        return str(job.out / IMAGES)
    outside = {name: open_outside(bench, job, path) for name, path in job.outside.items()}
    truth = open_truth(bench, job.psis, job.truth)
    head = truth_words(bench, truth)
    head += f"\n{coverage_words(bench, truth, job.psis)}"
    say(head)
    rows = measure_all(bench, job, chosen | outside, truth)
    lines = {
        (name, on): line_of(of_seeds, psi_of(job, on)) for (name, on), of_seeds in rows.items()
    }
    tables = build_tables(lines, job.psis, list(outside))
    return write_results(bench, job, tables, head, rows, truth)


def check_outside(outside: Mapping[str, Path]) -> None:
    """Refuse names that are taken.

    Raises:
        UsageError: a tool from outside that is called like a method.
    """
    for name in outside:
        if name in METHODS or name == TRUTH_NET:
            raise UsageError(f"--pred {name}", "is the name of a method here", "name it otherwise")


def check_psis(psis: Sequence[float]) -> None:
    """Refuse psi whose pictures would have the same keys.

    Raises:
        UsageError: two of them agree to three decimals.
    """
    if len({on_psi(psi) for psi in psis}) < len(psis):
        named = ", ".join(f"{psi:g}" for psi in psis)
        remedy = "keep psi at least 0.001 apart"
        raise UsageError(f"--psi {named}", "two of them agree to three decimals", remedy)


def check_methods(bench: Bench, job: Job, methods: Mapping[str, Method]) -> None:
    """Refuse what a method's own turn would, hours later; errors as ``Method.check``."""
    for name, method in methods.items():
        seeds = job.training_seeds if method.seeded else (0,)
        paths = [row_path(bench.out, name, k, on_psi(psi)) for k in seeds for psi in job.psis]
        # A method that is measured trains no more, whatever has become of its pictures.
        if not all(path.exists() for path in paths):
            method.check(bench)


def open_bench(job: Job, say: Say) -> Bench:
    """Open the generator; errors as ``weights.obtain_generator``."""
    sampling = job.recipe.sampling.model_copy(update={"latents": None})
    recipe = job.recipe.model_copy(update={"sampling": sampling})
    device = choose_device(job.device)
    checkpoint, generator = obtain_generator(recipe.generator, device, offline=job.offline)
    return Bench(
        recipe,
        checkpoint,
        generator,
        job.out,
        job.num_images,
        job.steps,
        job.unrelated,
        say,
        job.offline,
    )


def identity(bench: Bench) -> str:
    """Name what decides the pictures, and how alpha becomes a mask."""
    recipe = bench.recipe
    sampling = recipe.sampling.model_dump(mode="json")
    kept = ("noise_mode", "precision", "style_mixing", "truncation_cutoff", "mask_cleanup")
    return digest_of(
        {
            "generator": bench.checkpoint.fingerprint,
            "crop": recipe.generator.crop,
            "sampling": {name: sampling[name] for name in kept},
            "mask_threshold": recipe.output.mask_threshold,
            "images": [FIRST_SEED, bench.num_images],
        }
    )


def open_outside(bench: Bench, job: Job, path: Path) -> Method:
    """Check a tool's masks, all of them, before anything is trained; errors as ``MaskFolder``."""
    masks = MaskFolder(path, bench.size_hw, soft=True)
    digests = [masks.check(bench.draws(psi)) for psi in job.psis]
    for note in masks.notes():
        bench.say(note)
    return outside_method(path, " ".join(digests))


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
            bench.say(f"{name}, training seed {seed}, {on}: mIoU {scores['miou'].value:.4f}")
        found.append(row)
    return found


def psi_of(job: Job, on: str) -> float | None:
    """Return the psi that ``Row.on`` names, None for renders."""
    return next((psi for psi in job.psis if on_psi(psi) == on), None)


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
