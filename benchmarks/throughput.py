"""Images a second of `make` beside bare synthesis, in one run. python benchmarks/throughput.py.

Three figures on the embedded domain, taken in turns so that a busy machine hurts all alike: the
bare generator, generator and alpha network, and the whole of `make` with PNG, COCO and Parquet.
The ratios are what to quote. Peak memory is taken after the first and the last turn.
"""

import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from l4f_datagen.domains import find_recipe, load_recipe
from l4f_datagen.pipeline import Job, make_dataset
from l4f_datagen.sampling.render import Renderer, renderer_of
from l4f_datagen.sampling.sweep import sweep_of
from l4f_datagen.weights import open_networks

Measure = Callable[[], float]


def bare_rate(renderer: Renderer, number: int) -> float:
    """Images a second of synthesis (and alpha, when the renderer has one), nothing written."""
    recipe = load_recipe(find_recipe("toy-cars"), [], {})
    sweep = sweep_of(recipe.sampling)
    done, started = 0, time.perf_counter()
    for block in (block for shard in range(sweep.num_shards) for block in sweep.shard(shard)):
        done += len(renderer.render(block))
        if done >= number:
            break
    return done / (time.perf_counter() - started)


def make_rate(number: int, folder: Path) -> float:
    """Attempted images a second of `make`, from opening the weights to the last index."""
    recipe = load_recipe(find_recipe("toy-cars"), [], {})
    started = time.perf_counter()
    manifest = make_dataset(Job(recipe, folder, number), say=lambda _: None)
    rate = manifest["counts"]["attempted"] / (time.perf_counter() - started)
    shutil.rmtree(folder)
    return float(rate)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--n", "number", default=5000, show_default=True, help="Samples a turn of make.")
@click.option("--turns", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(number: int, turns: int, as_json: bool) -> None:
    recipe = load_recipe(find_recipe("toy-cars"), [], {})
    networks = open_networks(recipe, "auto", click.echo)
    with_alpha = renderer_of(recipe, networks.generator, networks.alpha)
    alone = renderer_of(recipe, networks.generator, None)
    folder = Path(tempfile.mkdtemp()) / "toy"
    measures: dict[str, Measure] = {
        "generator": lambda: bare_rate(alone, min(number, 1500)),
        "generator + alpha": lambda: bare_rate(with_alpha, min(number, 1500)),
        "make": lambda: make_rate(number, folder),
    }
    rates: dict[str, list[float]] = {name: [] for name in measures}
    peaks = []
    for _ in range(turns):
        for name, measure in measures.items():
            rates[name].append(measure())
        peaks.append(peak_mb())
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = zip(rates["make"], rates["generator + alpha"], strict=True)
    result = {
        "n": number,
        "images_per_second": medians,
        "make_over_generator_and_alpha": statistics.median(m / g for m, g in pairs),
        "peak_mb_after_each_turn": peaks,
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name, value in medians.items():
        click.echo(f"{name:20s} {value:7.1f} images/s")
    click.echo(f"make / (generator + alpha)  {result['make_over_generator_and_alpha']:.3f}")
    click.echo("peak memory " + ", ".join(f"{peak:.0f}" for peak in peaks) + " MB")


if __name__ == "__main__":
    main()
