"""Images a second of `make --engine ray` beside the local engine. python benchmarks/ray_engine.py.

The same dataset, made in turns on the same cores of this machine: by the threads of one process,
and by as many Ray workers. Ray is started once and its workers have made a dataset before, so that
their start (imports, weights), which is said apart, counts in no turn. A task is a whole shard, so
the shards should share out evenly: 5,120 samples are ten of toy-cars. The ratio is what to quote.
"""

import hashlib
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import ray

from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import Recipe
from l4f_datagen.recipe.domains import load_recipe

ENGINES = ("local", "ray")


def make_rate(recipe: Recipe, number: int, folder: Path, engine: str, workers: int) -> float:
    """Images a second of `make`, from opening the weights to the last index."""
    job = MakeConfig(recipe, folder, number, count="attempts", workers=workers, engine=engine)
    started = time.perf_counter()
    manifest = make_dataset(job)
    return float(manifest["counts"]["attempted"] / (time.perf_counter() - started))


def digest_of(folder: Path) -> str:
    """One SHA-256 over names and bytes of a dataset."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name != "lock":
            whole.update(f"{path.relative_to(folder)}\n".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


@click.command()
@click.option("--domain", default="toy-cars", show_default=True)
@click.option("--n", "number", default=5120, show_default=True, help="Samples a turn.")
@click.option("--turns", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Ray workers, and local threads.")
@click.option("--address", help="A cluster that runs already; else one is started here.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a recipe key.")
@click.option("--json", "as_json", is_flag=True)
def main(
    domain: str,
    number: int,
    turns: int,
    workers: int,
    address: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    recipe = load_recipe(domain, assignments=["output.formats=[png, coco, hf]", *overrides])
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    own["object_store_memory"] = 200_000_000
    started = time.perf_counter()
    options = {"address": address} if address else own
    ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    rates: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as work:
        warm = Path(work) / "warm"
        # A shard for each worker and more, or some would open their weights in the first turn.
        shard = recipe.sampling.block_size * recipe.sampling.blocks_per_shard
        make_rate(recipe, 2 * workers * shard, warm, "ray", workers)
        start_s = time.perf_counter() - started
        for turn in range(turns):
            for engine in ENGINES:
                folder = Path(work) / f"{engine}{turn}"
                rates[engine].append(make_rate(recipe, number, folder, engine, workers))
        digests = {digest_of(Path(work) / f"{engine}0") for engine in ENGINES}
    ray.shutdown()
    ratios = [far / near for far, near in zip(rates["ray"], rates["local"], strict=True)]
    figures = {
        "samples": number,
        "workers": workers,
        "same_bytes": len(digests) == 1,
        "start_and_warm_s": round(start_s, 1),
        "local_images_s": round(statistics.median(rates["local"]), 1),
        "ray_images_s": round(statistics.median(rates["ray"]), 1),
        "ray_of_local": round(statistics.median(ratios), 2),
        "ray_of_local_each": [round(ratio, 2) for ratio in ratios],
    }
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{k:18s}{v}" for k, v in figures.items())
    )


if __name__ == "__main__":
    main()
