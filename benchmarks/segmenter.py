"""Compare a U-Net trained on generated labels with one trained on true labels.

    python benchmarks/segmenter.py --out DIR

The same U-Net is trained on 5,000 samples that ``make`` generates for toy-cars and on 5,000 renders
with exact masks, for each seed; both are scored on 1,000 renders that neither has seen. Then the
masks of the alpha network itself, which the first nets learnt from, are scored on 1,000 generated
images against each net that saw exact masks. Every training is a folder in DIR: the same command
resumes, and reuses what is finished.
"""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.models.unet import UNet
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.scoring.image_score import score_image
from l4f_datagen.scoring.metrics import Scores, pool
from l4f_datagen.segmenter.model import open_segmenter
from l4f_datagen.segmenter.run import Material, material_of, run_training
from l4f_datagen.segmenter.training import Arrays, Plan, predict
from l4f_datagen.segmenter.training_set import TrainingSet, open_training_set
from l4f_datagen.toys.scene import HELD_OUT_SEED, render_scenes

WANTED = 0.97
"""Share of the true labels' mIoU that generated labels must reach."""

ALPHA_SAMPLES = 1_000


def render(seeds: range) -> Arrays:
    """Images ``n 64 64 3`` and exact masks as 0.0 and 1.0, as generated ones come."""
    scenes = list(render_scenes(seeds, workers=torch.get_num_threads()))
    masks = alpha_to_mask(np.stack([scene.alpha for scene in scenes]), 0.5)
    return Arrays(np.stack([scene.image for scene in scenes]), masks.astype(np.float32))


def generated(out: Path, number: int) -> TrainingSet:
    """Make the dataset with the shipped weights, or go on with it."""
    recipe = load_recipe("toy-cars", assignments=["output.formats=[png]"])
    make_dataset(MakeConfig(recipe, out, number, device="cpu"))
    return open_training_set(out, out)


def materials(out: Path, samples: int) -> dict[str, Material]:
    """What the two kinds of nets learn from; all samples, none is held out for choosing."""
    dataset = generated(out / "dataset", samples)
    labels, true = material_of(dataset), render(range(samples))
    none = Arrays(true.images[:0], true.alphas[:0])
    facts = {"domain": "toy-cars renders", "samples": samples}
    renders = Material(true, none, dataset.size, "car", None, facts)
    learnt = Material(dataset, none, dataset.size, "car", labels.licence, labels.facts)
    return {"generated": learnt, "renders": renders}


def trained(material: Material, plan: Plan, out: Path) -> UNet:
    file = run_training(material, plan, out, save_every=50)
    return open_segmenter(file).network


def score(truth: NDArray[np.float32], found: NDArray[np.float32]) -> Scores:
    pairs = enumerate(zip(alpha_to_mask(truth, 0.5), alpha_to_mask(found, 0.5), strict=True))
    return pool([score_image(str(k), true, mask) for k, (true, mask) in pairs])


def row(scores: Scores) -> dict[str, float]:
    names = ("iou_object", "miou", "f1", "precision", "recall", "boundary_f")
    return {name: float(scores.to_dict()[name]) for name in names}


def say(title: str, values: dict[str, float]) -> None:
    columns = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
    click.echo(f"{title:30s} {columns}", err=True)


def mean_of(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row["miou"] for row in rows if row["labels"] == name]))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder, resumed.")
@click.option("--seeds", default="0,1,2", show_default=True, help="One pair of trainings each.")
@click.option("--steps", default=200, show_default=True)
@click.option("--samples", default=5_000, show_default=True, help="To learn from, of each kind.")
@click.option("--held-out", default=1_000, show_default=True, help="Renders to be scored on.")
@click.option("--width", default=16, show_default=True, help="Channels at full resolution.")
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    out: Path,
    seeds: str,
    steps: int,
    samples: int,
    held_out: int,
    width: int,
    threads: int,
    as_json: bool,
) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    started = time.process_time()
    unseen = render(range(HELD_OUT_SEED, HELD_OUT_SEED + held_out))
    learnable = materials(out, samples)
    images, masks = learnable["generated"].train.batch(np.arange(min(ALPHA_SAMPLES, samples)))
    click.echo(f"samples ready after {time.process_time() - started:.0f} CPU seconds", err=True)
    rows: list[dict[str, Any]] = []
    alpha_rows: list[dict[str, float]] = []
    for seed in map(int, seeds.split(",")):
        plan = Plan(seed=seed, steps=steps, width=width)
        for name, material in learnable.items():
            before = time.process_time()
            net = trained(material, plan, out / f"{name}-seed{seed}")
            values = row(score(unseen.alphas, predict(net, unseen.images)))
            cpu_s = time.process_time() - before
            say(f"learnt from {name}, seed {seed}", values)
            rows.append({"labels": name, "seed": seed, "cpu_seconds": cpu_s, **values})
        alpha_rows.append(row(score(predict(net, images), masks)))
        say(f"alpha network, net of seed {seed}", alpha_rows[-1])
    ratio = mean_of(rows, "generated") / mean_of(rows, "renders")
    result = {
        "plan": {"steps": steps, "samples": samples, "held_out": held_out, "width": width},
        "trainings": rows,
        "alpha_network": alpha_rows,
        "miou_generated": mean_of(rows, "generated"),
        "miou_renders": mean_of(rows, "renders"),
        "ratio": ratio,
        "wanted": WANTED,
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(
        f"generated {result['miou_generated']:.4f}, renders {result['miou_renders']:.4f}: "
        f"{100 * ratio:.2f} % ({'at least' if ratio >= WANTED else 'BELOW'} {100 * WANTED:.0f} %)",
        err=True,
    )
    if as_json:
        click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
