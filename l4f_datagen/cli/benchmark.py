"""``l4f-datagen benchmark``: the paper's tables for one domain."""

import re
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.options import FILE, PSI_LIST, resolve_recipe, source_options
from l4f_datagen.core.errors import UsageError

MAX_SEEDS = 1_000_000
TRIAL_IMAGES = 50
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}", re.ASCII)


def _preds(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Path]:
    """Split ``name=DIR``."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path or not NAME.fullmatch(name):
            raise click.BadParameter(f"expected name=DIR with a name such as rembg, got {text!r}")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        found[name] = Path(path)
    return found


@click.command()
@source_options
@click.option(
    "--out",
    "--outdir",
    type=FILE,
    required=True,
    help="Folder of the results; the same command resumes.",
)
@click.option("--methods", metavar="A,B", help="Methods to compare; default: all that can run.")
@click.option(
    "--training-seeds", help="One training per seed: 0,1,2 or 0-4.  [default: 0-2; with --trial 0]"
)
@click.option(
    "--images", "num_images", type=click.IntRange(1, 99_999),
    help="Generated images per psi.  [default: 1000; with --trial 50]",
)  # fmt: skip
@click.option(
    "--psi",
    "--trunc",
    type=PSI_LIST,
    help="Truncations; default: the recipe's; with --trial the largest.",
)
@click.option("--steps", type=click.IntRange(1), help="Shorten every training to this many steps.")
@click.option(
    "--trial", is_flag=True, help="See in five minutes that everything runs, on little data."
)
@click.option("--truth", type=FILE, help="Masks to score against; toy domains need none.")
@click.option("--unrelated", type=FILE, help="Images that do not show the domain.")
@click.option(
    "--pred", "preds", multiple=True, metavar="NAME=DIR", callback=_preds,
    help="Masks of an external tool, named like the images.",
)  # fmt: skip
@click.option("--images-only", is_flag=True, help="Only write OUT/images, for outside tools.")
def benchmark(
    out: Path,
    methods: str | None,
    training_seeds: str | None,
    num_images: int | None,
    psi: tuple[float, ...] | None,
    steps: int | None,
    trial: bool,
    truth: Path | None,
    unrelated: Path | None,
    preds: dict[str, Path],
    images_only: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    r"""Compare the method, its ablations and other methods on one domain; run again to resume.

    Begins with an estimate of its time. Prints the tables of the paper's appendix, and writes
    them to OUT with tables.csv and figure.png. Every method masks the same generated images.

    \b
    l4f-datagen benchmark --domain toy-cars --out bench
    l4f-datagen benchmark --domain toy-cars --out trial --trial
    """
    from l4f_datagen.recipe.seeds import parse_seeds

    training_seeds = training_seeds or ("0" if trial else "0-2")
    seeds = parse_seeds(training_seeds, "--training-seeds")
    if not 1 <= len(seeds) <= 1_000 or max(part.stop for part in seeds.ranges) > MAX_SEEDS:
        problem = f"got {training_seeds}"
        remedy = f"give 1 to 1,000 seeds below {MAX_SEEDS:,}, as 0-2"
        raise UsageError("--training-seeds", problem, remedy)
    numbers = tuple(seeds[k] for k in range(len(seeds)))
    recipe = resolve_recipe(**source)
    from l4f_datagen.benchmark.bench import BenchmarkConfig
    from l4f_datagen.benchmark.run import run_benchmark

    psis = (max(recipe.sampling.psi),) if trial else recipe.sampling.psi
    config = BenchmarkConfig(
        recipe,
        out,
        tuple(name.strip() for name in methods.split(",")) if methods is not None else None,
        numbers,
        num_images or (TRIAL_IMAGES if trial else 1_000),
        tuple(dict.fromkeys(psi or psis)),
        steps,
        trial,
        truth,
        unrelated,
        preds,
        images_only,
        device,
        offline,
    )
    click.echo(run_benchmark(config))
