"""Images a second of `make` beside bare synthesis, in one run. python benchmarks/throughput.py.

The measures take turns, so that a busy machine affects all of them alike, and use the same number
of threads: the generator alone, generator and alpha network, and the whole of `make` with PNG, COCO
and Parquet, for each precision; and the loop that a user would write with the same weights, one
image at a time in fp32, saved with Pillow. `make` first runs at a tenth of the number, for the cost
per sample and the memory at small and large n. Quote the ratios. Memory is what the process holds
after each measure, and its peak until then. Half precision is compared with fp32 on some samples:
IoU of the masks, levels of the images.

    python benchmarks/throughput.py --precision fp32 --precision bf16
    python benchmarks/throughput.py --size 256 --n 64 --precision fp32 --precision bf16

`--size` uses a StyleGAN2 config-f with random weights at that size.

Nothing is deleted before the end: on a file system without a journal, recently deleted files slow
down the creation of new ones.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from random_domain import random_domain

from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.sample import alpha_to_uint8, image_to_uint8
from l4f_datagen.models.generator import draw_z
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.local_engine import LocalEngine, render_threads
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.pipeline.networks import obtain_networks
from l4f_datagen.recipe import Recipe
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.rendering.plan import Draw, sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer, renderer_of

MAX_BARE, MAX_LOOP = 2000, 300
"""Samples of the measures that write nothing, and of the loop: their rate does not change."""
COMPARED = 64
"""Samples by which half precision is compared, at most."""


def draws_of(recipe: Recipe, number: int) -> Iterator[Draw]:
    """Give the first draws of the recipe's plan."""
    quota = Quota(number, "attempts", sweep_of(recipe.sampling))
    blocks = chain.from_iterable(blocks for _, blocks in quota.shards())
    return islice(chain.from_iterable(blocks), number)  # nobody settles the quota


def bare_rate(renderer: Renderer, recipe: Recipe, number: int) -> float:
    """Images a second of synthesis (and alpha, when the renderer has one), nothing written."""
    quota = Quota(number, "attempts", sweep_of(recipe.sampling))
    threads, done, shard = render_threads([renderer]), 0, 0
    started = time.perf_counter()
    with LocalEngine(threads, quota.blocks, lambda shard: shard + 1) as engine:
        while quota.blocks(shard):
            done += sum(map(len, engine.render(shard)))
            shard += 1
        return done / (time.perf_counter() - started)


def make_rate(recipe: Recipe, number: int, folder: Path, device: str) -> float:
    """Attempted images a second of `make`, from opening the weights to the last index."""
    started = time.perf_counter()
    manifest = make_dataset(MakeConfig(recipe, folder, number, device=device))
    return float(manifest["counts"]["attempted"] / (time.perf_counter() - started))


@torch.inference_mode()
def loop_rate(renderer: Renderer, recipe: Recipe, number: int, folder: Path) -> float:
    """Images a second of the loop a user would write; torch uses all cores for each image."""
    generator, alpha = renderer.generator, renderer.alpha
    assert alpha is not None
    folder.mkdir()
    started = time.perf_counter()
    for draw in draws_of(recipe, number):
        z = torch.from_numpy(draw_z([draw.seed], generator.spec.z_dim)).to(renderer.device)
        synthesis = generator(z, draw.psi)
        matte = alpha(synthesis.features)[0, 0].cpu().numpy()
        pixels = image_to_uint8(synthesis.image)[0].permute(1, 2, 0).cpu().numpy()
        mask = alpha_to_mask(matte, renderer.mask_threshold)
        Image.fromarray(pixels).save(folder / f"{draw.key}.png")
        Image.fromarray(alpha_to_uint8(matte)).save(folder / f"{draw.key}_alpha.png")
        Image.fromarray(mask).save(folder / f"{draw.key}_mask.png")
    return number / (time.perf_counter() - started)


def compare(exact: Renderer, half: Renderer, draws: list[Draw]) -> dict[str, float]:
    """Compare what a precision renders with fp32, in pieces as `make` renders them."""
    ious, gaps = [], []
    for first, second in zip(exact.render(draws), half.render(draws), strict=True):
        union = np.count_nonzero(first.mask | second.mask)
        ious.append(np.count_nonzero(first.mask & second.mask) / union if union else 1.0)
        gaps.append(np.abs(first.image.astype(np.int16) - second.image))
    return {
        "mask IoU, mean": float(np.mean(ious)),
        "mask IoU, worst": float(np.min(ious)),
        "image error, mean levels": float(np.mean(gaps)),
        "image error, worst level": float(np.max(gaps)),
    }


def status_mb(name: str) -> float:
    """Memory of this process: VmRSS, what it holds now; VmHWM, the most it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


@click.command()
@click.option("--domain", default="toy-cars", show_default=True)
@click.option("--size", type=int, help="Drawn weights of a config-f of so many px instead.")
@click.option("--n", "number", default=5000, show_default=True, help="Samples a turn of make.")
@click.option("--turns", default=3, show_default=True)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    multiple=True,
    default=["fp32"],
    help="May be given several times.",
)
@click.option("--device", default="auto", show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a recipe key.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; else a new one.")
@click.option("--json", "as_json", is_flag=True)
def main(
    domain: str,
    size: int | None,
    number: int,
    turns: int,
    precisions: tuple[str, ...],
    device: str,
    overrides: tuple[str, ...],
    folder: Path | None,
    as_json: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        fresh = (Path(work) / f"{k}" for k in count())
        base = next(fresh)
        base.mkdir()
        plain = random_domain(size, base) if size else load_recipe(domain)
        file = base / "recipe.yaml"
        file.write_text(plain.dump())
        recipes = {
            name: load_recipe(
                file,
                assignments=overrides,
                formats=["png", "coco", "hf"],
                precision=name,
            )
            for name in ("fp32", *precisions)
        }
        networks = obtain_networks(recipes["fp32"], device)
        renderers = {name: networks.renderer for name, recipe in recipes.items()}
        measures: dict[str, Callable[[], float]] = {}
        for name in precisions:
            recipe, renderer = recipes[name], renderers[name]
            alone = renderer_of(recipe, networks.renderer.generator, None)
            bare = min(number, MAX_BARE)
            measures |= {
                f"{name} generator": partial(bare_rate, alone, recipe, bare),
                f"{name} generator + alpha": partial(bare_rate, renderer, recipe, bare),
                f"{name} make, a tenth": lambda r=recipe: make_rate(
                    r, max(1, number // 10), next(fresh), device
                ),
                f"{name} make": lambda r=recipe: make_rate(r, number, next(fresh), device),
            }
        measures["user's loop"] = lambda: loop_rate(
            renderers["fp32"], recipes["fp32"], min(number, MAX_LOOP), next(fresh)
        )
        rates: dict[str, list[float]] = {name: [] for name in measures}
        held: list[dict[str, float]] = []
        peak: list[dict[str, float]] = []
        for _ in range(turns):
            held.append({})
            peak.append({})
            for name, measure in measures.items():
                rates[name].append(measure())
                click.echo(f"{name}: {rates[name][-1]:.2f} images/s", err=True)
                held[-1][name] = status_mb("VmRSS")
                peak[-1][name] = status_mb("VmHWM")
        draws = list(draws_of(recipes["fp32"], min(number, COMPARED)))
        compared = {
            name: compare(renderers["fp32"], renderers[name], draws)
            for name in precisions
            if name != "fp32"
        }
    first, last = f"{precisions[0]} make", f"{precisions[-1]} make"
    result: dict[str, Any] = {
        "domain": plain.domain,
        "n": number,
        "threads": len(render_threads([renderers["fp32"]])),
        "images_per_second": {name: statistics.median(rates[name]) for name in rates},
        "ratios": {name: found for p in precisions for name, found in ratios(rates, p).items()},
        "beside fp32": compared,
        "held_mb": held,
        "peak_mb": peak,
        "held_mb, last make - first": held[-1][last] - held[0][last],
        "peak_mb, first make - its tenth": peak[0][first] - peak[0][f"{first}, a tenth"],
    }
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def ratios(rates: dict[str, list[float]], name: str) -> dict[str, float]:
    """Return the medians over the turns for one precision."""

    def ratio(above: str, below: str) -> float:
        pairs = zip(rates[above], rates[below], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        f"{name} make / (generator + alpha)": ratio(f"{name} make", f"{name} generator + alpha"),
        f"{name} make / user's loop": ratio(f"{name} make", "user's loop"),
        f"{name} alpha's share of the cost": 1
        - ratio(f"{name} generator + alpha", f"{name} generator"),
        f"{name} cost of a sample, n / a tenth": ratio(f"{name} make, a tenth", f"{name} make"),
    }


def text(result: dict[str, Any]) -> str:
    """Format the figures as a table."""
    lines = [f"{result['domain']}, n {result['n']}, {result['threads']} threads"]
    for name, rate in result["images_per_second"].items():
        held, peak = (
            ", ".join(f"{turn[name]:.0f}" for turn in result[key]) for key in ("held_mb", "peak_mb")
        )
        lines.append(f"{name:28s} {rate:9.2f} images/s   held {held} MB, peak {peak} MB")
    tables = [result["ratios"]]
    for name, row in result["beside fp32"].items():
        tables.append({f"{name} beside fp32, {key}": value for key, value in row.items()})
    tables.append({name: value for name, value in result.items() if " - " in name})
    return "\n".join([*lines, *(f"{k:45s} {v:9.4f}" for row in tables for k, v in row.items())])


if __name__ == "__main__":
    main()
