"""How good are the labels of toy-cars? python benchmarks/toycars_quality.py [--json].

A U-Net trained on renders with exact masks is the pseudo-truth on 1,000 generated images, the role
BiSeNet and Detectron2 have in the paper. Its own score on 4,000 held-out renders is printed first.
Then the alpha network that ships, at psi 0.5, 0.7, 1.0 and thresholds 0.5, 0.7, 0.9, and alpha
networks trained afresh with other seeds (the shipped one is the recipe's own seed).
"""

import json
import time
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from l4f_datagen.alpha.network import AlphaNetwork
from l4f_datagen.alpha.training import new_training, train_alpha
from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.domains import find_recipe, load_recipe, weights_path
from l4f_datagen.sampling.render import Renderer
from l4f_datagen.sampling.sweep import Draw
from l4f_datagen.scoring.metrics import Scores, pool, score_image
from l4f_datagen.segmenter.augmentation import Augmentation
from l4f_datagen.segmenter.network import UNet
from l4f_datagen.segmenter.training import predict, train_segmenter
from l4f_datagen.stylegan2.generator import Generator
from l4f_datagen.toys.pretrain import HELD_OUT_SEED
from l4f_datagen.toys.scene import render_scenes

TRAINING_SCENES = 12_000
HELD_OUT_SCENES = 4_000
IMAGES = 1_000
FIRST_SEED = 500_000
UNET_STEPS = 1_000
PSIS = (0.5, 0.7, 1.0)
THRESHOLDS = (0.5, 0.7, 0.9)


def render(seeds: range) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return images ``n 64 64 3`` and exact alphas ``n 64 64``."""
    images, alphas = [], []
    for scene in render_scenes(seeds, workers=2):
        images.append(scene.image)
        alphas.append(scene.alpha)
    return np.stack(images), np.stack(alphas)


def score(truth: NDArray[np.bool_], masks: NDArray[np.bool_]) -> Scores:
    """Pooled scores of masks ``n h w`` against truth ``n h w``."""
    rows = enumerate(zip(truth, masks, strict=True))
    return pool([score_image(str(k), true, mask) for k, (true, mask) in rows])


def pseudo_truth() -> tuple[UNet, Scores]:
    """Train the supervised net and score it on renders it has not seen."""
    images, alphas = render(range(TRAINING_SCENES))
    # All pictures show cars of one scale: zooming would only blur what is asked of the net.
    sharp = Augmentation(moved=0)
    net = train_segmenter(images, alphas, seed=0, steps=UNET_STEPS, augmentation=sharp)
    images, alphas = render(range(HELD_OUT_SEED, HELD_OUT_SEED + HELD_OUT_SCENES))
    return net, score(alphas > 0.5, predict(net, images) > 0.5)


def label(
    generator: Generator, alpha: AlphaNetwork, psi: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return generated images ``n 64 64 3`` and their alphas ``n 64 64`` at one psi."""
    renderer = Renderer(generator, alpha)
    images, alphas = [], []
    for start in range(FIRST_SEED, FIRST_SEED + IMAGES, 50):
        draws = [Draw(1, psi, seed) for seed in range(start, start + 50)]
        for sample in renderer.render(draws):
            images.append(sample.image)
            alphas.append(sample.alpha)
    return np.stack(images), np.stack(alphas)


def row(scores: Scores) -> dict[str, float]:
    """The paper's columns."""
    return {
        "iou_fg": scores.foreground.iou,
        "iou_bg": scores.background.iou,
        "miou": scores.miou,
        "f1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        "accuracy": scores.accuracy,
    }


def say(title: str, values: dict[str, float]) -> None:
    columns = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
    click.echo(f"{title:28s} {columns}", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--seeds", default=3, show_default=True, help="Training seeds, the shipped first.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON here.")
def main(as_json: bool, seeds: int, out: Path | None) -> None:
    recipe = load_recipe(find_recipe("toy-cars"), [], {})
    generator = open_generator(weights_path("builtin:toy-cars", "generator")).build()
    shipped = open_alpha(weights_path("builtin:toy-cars", "alpha")).build()
    torch.set_flush_denormal(True)
    net, own = pseudo_truth()
    result: dict[str, object] = {"supervised_on_renders": row(own)}
    say("supervised, held-out renders", row(own))

    table: dict[str, dict[str, float]] = {}
    truths = {}
    for psi in PSIS:
        images, alphas = label(generator, shipped, psi)
        truths[psi] = predict(net, images) > 0.5
        for threshold in THRESHOLDS:
            name = f"psi {psi} threshold {threshold}"
            table[name] = row(score(truths[psi], alphas > threshold))
            say(f"shipped, {name}", table[name])
    threshold = recipe.output.mask_threshold
    _, alphas = label(generator, shipped, 1.0)
    result |= {"shipped": table, "miou": score(truths[1.0], alphas > threshold).miou}

    trained = recipe.alpha.training.seed
    retrained = [row(score(truths[1.0], alphas > threshold)) | {"seed": trained}]
    for seed in range(trained + 1, trained + seeds):
        config = recipe.alpha.training.model_copy(update={"seed": seed})
        part = recipe.alpha.model_copy(update={"training": config})
        started = time.monotonic()
        torch.set_num_threads(2)
        alpha = train_alpha(part, generator, training=new_training(part, generator))
        minutes = (time.monotonic() - started) / 60
        _, alphas = label(generator, alpha, 1.0)
        values = row(score(truths[1.0], alphas > threshold))
        retrained.append(values | {"seed": seed, "minutes": minutes})
        say(f"trained afresh, seed {seed}", values)
    result["training_seeds"] = retrained
    result["mean_miou_over_seeds"] = float(np.mean([r["miou"] for r in retrained]))
    text = json.dumps(result, indent=2)
    if out:
        out.write_text(text + "\n")
    if as_json:
        click.echo(text)


if __name__ == "__main__":
    main()
