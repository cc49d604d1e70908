"""Images a second of `make` beside bare synthesis, in one run. python benchmarks/throughput.py.

In turns, so that a busy machine hurts all alike, and on as many threads each: the bare generator,
generator and alpha network, the whole of `make` with PNG, COCO and Parquet, and the loop a user
would write with the same weights: one image at a time, saved with Pillow. Then `make` once more
at a tenth of the number, for the cost of a sample at small and at large n. The ratios are what to
quote. Memory is what the process holds after each measure, not its peak.

Nothing is deleted before the end: on a file system without a journal, files deleted a moment ago
make every new one slow.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import chain, count, islice
from pathlib import Path

import click
import torch
from PIL import Image

from l4f_datagen.domains import find_recipe, load_recipe
from l4f_datagen.engines.local import LocalEngine, render_threads
from l4f_datagen.masks import alpha_to_mask
from l4f_datagen.pipeline import Job, make_dataset
from l4f_datagen.recipe import Recipe
from l4f_datagen.sample import alpha_to_uint8, image_to_uint8
from l4f_datagen.sampling.quota import Quota
from l4f_datagen.sampling.render import Renderer, renderer_of
from l4f_datagen.sampling.sweep import sweep_of
from l4f_datagen.stylegan2.generator import draw_z
from l4f_datagen.weights import open_networks

MAX_BARE, MAX_LOOP = 2000, 300
"""Samples of the measures that write nothing, and of the loop: their rate does not change."""


def bare_rate(renderer: Renderer, recipe: Recipe, number: int) -> float:
    """Images a second of synthesis (and alpha, when the renderer has one), nothing written."""
    quota = Quota(number, "accepted", sweep_of(recipe.sampling))
    done = 0
    with LocalEngine(render_threads([renderer]), quota.blocks, lambda shard: shard + 1) as engine:
        started = time.perf_counter()
        for block in chain.from_iterable(engine.render(shard) for shard in count()):
            done += len(block)
            if done >= number:
                return done / (time.perf_counter() - started)
    raise AssertionError("the plan has an end")


def make_rate(recipe: Recipe, number: int, folder: Path, device: str) -> float:
    """Attempted images a second of `make`, from opening the weights to the last index."""
    started = time.perf_counter()
    manifest = make_dataset(Job(recipe, folder, number, device=device), say=lambda _: None)
    return float(manifest["counts"]["attempted"] / (time.perf_counter() - started))


@torch.inference_mode()
def loop_rate(renderer: Renderer, recipe: Recipe, number: int, folder: Path) -> float:
    """Images a second of the loop a user would write; torch uses all cores for each image."""
    generator, alpha = renderer.generator, renderer.alpha
    assert alpha is not None
    folder.mkdir()
    quota = Quota(number, "attempts", sweep_of(recipe.sampling))
    draws = chain.from_iterable(chain.from_iterable(blocks for _, blocks in quota.shards()))
    started = time.perf_counter()
    for draw in islice(draws, number):
        z = torch.from_numpy(draw_z([draw.seed], generator.spec.z_dim)).to(renderer.device)
        synthesis = generator(z, draw.psi)
        matte = alpha(synthesis.features)[0, 0].cpu().numpy()
        pixels = image_to_uint8(synthesis.image)[0].permute(1, 2, 0).cpu().numpy()
        mask = alpha_to_mask(matte, renderer.mask_threshold)
        Image.fromarray(pixels).save(folder / f"{draw.key}.png")
        Image.fromarray(alpha_to_uint8(matte)).save(folder / f"{draw.key}_alpha.png")
        Image.fromarray(mask).save(folder / f"{draw.key}_mask.png")
    return number / (time.perf_counter() - started)


def held_mb() -> float:
    """Memory that this process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@click.command()
@click.option("--domain", default="toy-cars", show_default=True)
@click.option("--n", "number", default=5000, show_default=True, help="Samples a turn of make.")
@click.option("--turns", default=3, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32")
@click.option("--device", default="auto", show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a recipe key.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; else a new one.")
@click.option("--json", "as_json", is_flag=True)
def main(
    domain: str,
    number: int,
    turns: int,
    precision: str,
    device: str,
    overrides: tuple[str, ...],
    folder: Path | None,
    as_json: bool,
) -> None:
    recipe = load_recipe(
        find_recipe(domain),
        ["output.formats=[png, coco, hf]", f"sampling.precision={precision}", *overrides],
        {},
    )
    networks = open_networks(recipe, device, click.echo)
    with_alpha = renderer_of(recipe, networks.generator, networks.alpha)
    alone = renderer_of(recipe, networks.generator, None)
    bare = min(number, MAX_BARE)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        fresh = (Path(work) / f"{k}" for k in count())
        measures: dict[str, Callable[[], float]] = {
            "generator": lambda: bare_rate(alone, recipe, bare),
            "generator + alpha": lambda: bare_rate(with_alpha, recipe, bare),
            "make": lambda: make_rate(recipe, number, next(fresh), device),
            "make, a tenth": lambda: make_rate(recipe, number // 10, next(fresh), device),
            "user's loop": lambda: loop_rate(
                with_alpha, recipe, min(number, MAX_LOOP), next(fresh)
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in measures}
        held: list[dict[str, float]] = []
        for _ in range(turns):
            held.append({})
            for name, measure in measures.items():
                rates[name].append(measure())
                held[-1][name] = held_mb()
    makes = [turn["make"] for turn in held]
    result = {
        "domain": domain,
        "n": number,
        "precision": precision,
        "threads": len(render_threads([with_alpha])),
        "images_per_second": {name: statistics.median(rates[name]) for name in rates},
        "make / (generator + alpha)": ratio(rates, "make", "generator + alpha"),
        "make / user's loop": ratio(rates, "make", "user's loop"),
        "alpha's share of the cost": 1 - ratio(rates, "generator + alpha", "generator"),
        "cost of a sample, n / a tenth": ratio(rates, "make, a tenth", "make"),
        "held_mb": held,
        "held_mb, last make - first": makes[-1] - makes[0],
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{domain}, n {number}, {precision}, {result['threads']} threads")
    for name, values in rates.items():
        shown = ", ".join(f"{turn[name]:.0f}" for turn in held)
        click.echo(f"{name:20s} {statistics.median(values):8.1f} images/s   held {shown} MB")
    for name, value in result.items():
        if isinstance(value, float):
            click.echo(f"{name:32s} {value:8.3f}")


def ratio(rates: dict[str, list[float]], name: str, other: str) -> float:
    """Median over the turns of the ratio of two rates."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))


if __name__ == "__main__":
    main()
