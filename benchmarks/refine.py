"""What refining is worth: masks against truth with and without it, and its speed.

    python benchmarks/refine.py --out DIR

On the authors' masks of their custom set (found through L4F_SHARED) at 256 px, and on generated
images of each domain at psi 1.0 and 0.7 with the alpha networks that ship. There the truth is a
U-Net: the benchmark's own for toy domains (trained on renders with exact masks, kept in DIR), or
``--truth DOMAIN=FILE``, any segmenter that learnt from true masks. Writes ``DIR/DOMAIN.png``:
image, alpha, refined alpha and truth, outlined by the refined mask.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.benchmark.bench import EVAL_SEED, BenchmarkConfig
from l4f_datagen.benchmark.run import open_bench
from l4f_datagen.benchmark.supervised import TRUTH_SEED, train_on_renders
from l4f_datagen.models.unet import UNet
from l4f_datagen.pipeline.networks import obtain_networks
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.refine import Method, refine_alpha
from l4f_datagen.segmenter.model import open_segmenter
from l4f_datagen.segmenter.training import predict

DOMAINS = ("toy-cars", "toy-fish", "toy-portraits", "skin-lesions", "blood-cells")
CUSTOM = {"Faces": ("face", "Face"), "Cats": ("cat", "Cat")}
CUSTOM_PX = 256
SIDES = (64, 256, 512, 1024)
SHOWN = 5
BLOCK = 50

Masks = NDArray[np.bool_]


def mious(masks: Masks, truth: Masks) -> NDArray[np.float64]:
    """Mean IoU of object and background of each image, ``n h w`` to ``n``."""
    found = []
    for one, other in ((masks, truth), (~masks, ~truth)):
        both, either = (one & other).sum(axis=(1, 2)), (one | other).sum(axis=(1, 2))
        found.append(both / np.maximum(either, 1))
    return np.asarray((found[0] + found[1]) / 2)


def line(name: str, method: str, found: NDArray[np.float64], before: NDArray[np.float64]) -> str:
    """Mean, gain with half its 95 % interval over images, and the largest loss of one image."""
    gain = found - before
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    return (
        f"{name:18s} {method:8s} mIoU {found.mean():.4f}  gain {gain.mean():+.4f} +- {half:.4f}"
        f"  worst {gain.min():+.4f}"
    )


def custom_set(methods: Sequence[Method]) -> None:
    """Refine the authors' masks of their custom set."""
    folder = Path(os.environ["L4F_SHARED"]) / "data" / "l4f_custom"
    for name, (low, high) in CUSTOM.items():
        images, masks, truth = [], [], []
        for k in range(10):
            paths = (
                folder / name / "data" / f"{k}.png",
                folder / name / f"Mask_{low}_pred" / f"{k + 1}.png",
                folder / name / f"Mask_{low}_gt" / f"{high}{k + 1}.png",
            )
            opened = (
                Image.open(path).convert(mode)
                for path, mode in zip(paths, ("RGB", "L", "L"), strict=True)
            )
            planes = [np.asarray(i.resize((CUSTOM_PX,) * 2, Image.Resampling.BOX)) for i in opened]
            images.append(planes[0])
            masks.append(planes[1].astype(np.float32) / 255)
            truth.append(planes[2] > 127)
        before = mious(np.stack(masks) > 0.5, np.stack(truth))
        for method in methods:
            pairs = zip(images, masks, strict=True)
            after = np.stack([refine_alpha(i, m, method) > 0.5 for i, m in pairs])
            click.echo(line(name, method, mious(after, np.stack(truth)), before))


def truth_of(domain: str, given: Path | None, out: Path) -> UNet:
    """Open the U-Net that draws a domain's truth, or train it."""
    if given is not None:
        return open_segmenter(given).network
    bench = open_bench(BenchmarkConfig(load_recipe(domain), out / domain))
    return train_on_renders(bench, TRUTH_SEED, out / domain / "truth")


def domain_set(
    domain: str, psi: float, number: int, methods: Sequence[Method], truth: UNet, out: Path
) -> None:
    """Refine the shipped alpha network's mattes of generated images."""
    renderer = obtain_networks(load_recipe(domain), "cpu").renderer
    renderer = replace(renderer, refine="none", mask_threshold=0.5, background=None, probes={})
    images, alphas = [], []
    for start in range(0, number, BLOCK):
        stop = min(number, start + BLOCK)
        for one in renderer.render([Draw(k + 1, psi, EVAL_SEED + k) for k in range(start, stop)]):
            images.append(one.image)
            alphas.append(one.alpha)
    true = predict(truth, np.stack(images), batch=8) > 0.5
    before = mious(np.stack(alphas) > 0.5, true)
    for method in methods:
        pairs = zip(images, alphas, strict=True)
        refined = [refine_alpha(image, alpha, method) for image, alpha in pairs]
        found = mious(np.stack(refined) > 0.5, true)
        click.echo(line(f"{domain} psi {psi:g}", method, found, before))
        if method == "guided" and psi == 1:
            # The first ones, as they come.
            rows = [strip(*of) for of in zip(images[:SHOWN], alphas, refined, true, strict=False)]
            Image.fromarray(np.concatenate(rows)).save(out / f"{domain}.png", optimize=True)


def strip(
    image: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    refined: NDArray[np.float32],
    true: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Image, alpha, refined alpha and truth side by side, twice as large."""
    greys = [np.rint(plane * 255.0).astype(np.uint8) for plane in (alpha, refined, true)]
    tiles = [image, *(np.repeat(grey[:, :, None], 3, axis=2) for grey in greys)]
    return np.concatenate(tiles, axis=1).repeat(2, axis=0).repeat(2, axis=1)


def speed(methods: Sequence[Method]) -> None:
    """Time one picture on one core: a disc on noise."""
    for side in SIDES:
        y, x = np.mgrid[:side, :side] / side - 0.5
        alpha = np.clip((0.3 - np.hypot(x, y)) * 20, 0, 1).astype(np.float32)
        noise = np.random.RandomState(0).randint(0, 40, (side, side, 3))
        image = (noise + 200 * alpha[:, :, None]).clip(0, 255).astype(np.uint8)
        for method in methods:
            refine_alpha(image, alpha, method)
            started = time.process_time()
            refine_alpha(image, alpha, method)
            spent_ms = (time.process_time() - started) * 1e3
            click.echo(f"{side} px {method}: {spent_ms:.1f} ms of CPU a picture")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--images", "number", default=400, show_default=True, help="At each psi.")
@click.option("--methods", default="none,guided,matting", show_default=True)
@click.option("--truth", "truths", multiple=True, metavar="DOMAIN=FILE")
@click.option("--domains", default=",".join(DOMAINS), show_default=True)
def main(out: Path, number: int, methods: str, truths: tuple[str, ...], domains: str) -> None:
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    chosen: list[Method] = [m for m in ("none", "guided", "matting") if m in methods.split(",")]
    given = {name: Path(file) for name, _, file in (text.partition("=") for text in truths)}
    if "L4F_SHARED" in os.environ:
        custom_set(chosen)
    speed([method for method in chosen if method != "none"])
    for domain in filter(None, domains.split(",")):
        if domain not in given and not domain.startswith("toy-"):
            click.echo(f"{domain}: no truth; give --truth {domain}=FILE")
            continue
        truth = truth_of(domain, given.get(domain), out)
        for psi in (1.0, 0.7):
            domain_set(domain, psi, number, chosen, truth, out)


if __name__ == "__main__":
    main()
