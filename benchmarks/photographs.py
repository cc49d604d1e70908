"""Score a real domain on photographs whose masks were drawn by people.

    python benchmarks/photographs.py --domain skin-lesions --test TEST --out DIR \
        --photos train.zip --masks train_masks.zip

For each seed the whole route is gone: an alpha network is trained by the recipe, ``make`` labels
samples, and a segmenter learns from them. It is scored on TEST/images against TEST/masks, beside
the same segmenter that learnt from people's masks (--photos with --masks), Otsu's threshold, and
masks of outside tools (--pred NAME=DIR). With people's masks, generated images are scored too:
their pseudo-truth is that of the segmenter that learnt from people. Every part is a folder in DIR:
the same command resumes, and reuses what is finished.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from l4f_datagen.annotations import TruthMask, TruthSet, load_annotations
from l4f_datagen.benchmark.baselines import otsu_masks
from l4f_datagen.benchmark.tables import seed_interval
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.pretraining.plan import Symmetry
from l4f_datagen.recipe import Recipe
from l4f_datagen.recipe.domains import load_recipe
from l4f_datagen.scoring import Pair, Scores, score_pairs
from l4f_datagen.segmenter.model import Segmenter, open_segmenter, resize
from l4f_datagen.segmenter.photos import Photos, open_photos
from l4f_datagen.segmenter.run import Material, material_of, run_training
from l4f_datagen.segmenter.training import Arrays, Augmentation, Plan
from l4f_datagen.segmenter.training_set import open_training_set
from l4f_datagen.training.run import train_alpha

COLUMNS = ("miou", "iou_object", "precision", "recall")
THRESHOLD = 0.5


def recipe_of(domain: str, *assignments: str) -> Recipe:
    """Return the domain's recipe for all samples at psi 1."""
    plain = ("sampling.psi=[1.0]", "filters={}", "output.formats=[png]")
    return load_recipe(domain, assignments=[*plain, *assignments])


def learn_labels(
    domain: str, changes: tuple[str, ...], out: Path, seed: int, samples: int, plan: Plan
) -> Segmenter:
    """Go the route of a user without labels: train, make, and learn from what was made."""
    changes = (*changes, f"alpha.training.seed={seed}")
    recipe = recipe_of(domain, "alpha.weights=null", *changes)
    checkpoint = open_generator(recipe.generator.weights)
    trained = train_alpha(recipe, checkpoint, out / f"alpha-{seed}")
    recipe = recipe_of(domain, f"alpha.weights={trained.path}", *changes)
    dataset = out / f"dataset-{seed}"
    make_dataset(MakeConfig(recipe, dataset, samples, accept_doubtful_alpha=True))
    material = material_of(open_training_set(dataset, dataset))
    return open_segmenter(run_training(material, plan, out / f"segmenter-{seed}"))


def taught_by_people(photos: Photos, masks: TruthSet, size: int) -> Material:
    """Return photographs with people's masks as a segmenter learns from them."""
    names = {Path(name).stem: name for name in photos.names}
    images = np.zeros((len(masks), size, size, 3), np.uint8)
    alphas = np.zeros((len(masks), size, size), np.float32)
    for k, item in enumerate(masks):
        image = photos.load(names[item.stem]).image
        mask = item.load(image.shape[:2]).mask
        images[k] = resize(image, (size, size))
        alphas[k] = resize(mask.astype(np.uint8) * 255, (size, size)) / np.float32(255)
    none = Arrays(images[:0], alphas[:0])
    return Material(Arrays(images, alphas), none, size, "object", None, {"people": len(masks)})


class Test:
    """Photographs with the masks that people drew."""

    def __init__(self, folder: Path) -> None:
        self.photos = open_photos(folder / "images")
        self.truth = load_annotations(folder / "masks")
        self.names = {Path(name).stem: name for name in self.photos.names}

    def score(self, find: Any) -> dict[str, float]:
        """Score ``find(stem, image) -> mask``, pooled over all pixels."""

        def pairs() -> Iterator[Pair]:
            for item in self.truth:
                image = self.photos.load(self.names[item.stem]).image
                yield Pair(item.name, item.load(image.shape[:2]), find(item.stem, image))

        return picked(score_pairs(pairs()).scores)


def picked(scores: Scores) -> dict[str, float]:
    """Return the columns of the table; precision and recall are those of the object."""
    found = scores.foreground
    return dict(zip(COLUMNS, (scores.miou, found.iou, found.precision, found.recall), strict=True))


def score_labels(judge: Segmenter, dataset: Path) -> dict[str, float]:
    """Score the labels of generated images against a segmenter that learnt from people."""
    samples = open_training_set(dataset, dataset)
    images, masks = samples.batch(np.arange(min(1_000, len(samples))))
    truth = [judge.alpha(image) > THRESHOLD for image in images]
    pairs = (
        Pair(str(k), TruthMask(true), mask > THRESHOLD)
        for k, (true, mask) in enumerate(zip(truth, masks, strict=True))
    )
    return picked(score_pairs(pairs).scores)


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """One line a method: means over seeds with half the 95 % interval (Student's t)."""
    lines = [f"{'':44s}" + "".join(f"{name:>18s}" for name in COLUMNS)]
    for name, seeds in rows.items():
        text = f"{name:44s}"
        for column in COLUMNS:
            values = [seed[column] for seed in seeds]
            half = (seed_interval(values).high - np.mean(values)) if len(values) > 1 else None
            text += f"{np.mean(values):9.3f} " + (
                f"+- {half:.3f} " if half is not None else " " * 9
            )
        lines.append(text.rstrip())
    return "\n".join(lines)


def find_masks(folder: Path) -> Any:
    """Return what reads an outside tool's masks by the photograph's name."""
    masks = {item.stem: item for item in load_annotations(folder, mask_value="soft")}
    return lambda stem, image: masks[stem].load(image.shape[:2]).mask


@click.command()
@click.option("--domain", required=True)
@click.option("--test", type=click.Path(path_type=Path), required=True, help="images/ and masks/.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder, resumed.")
@click.option("--photos", type=click.Path(path_type=Path), help="Photographs of --masks.")
@click.option("--masks", type=click.Path(path_type=Path), help="Masks that people drew, to learn.")
@click.option("--pred", "preds", multiple=True, metavar="NAME=DIR", help="Masks of another tool.")
@click.option("--also", "others", multiple=True, metavar="NAME=DIR", help="Another test folder.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--samples", default=3_000, show_default=True, help="That a segmenter learns from.")
@click.option("--steps", default=300, show_default=True, help="Of every segmenter.")
@click.option("--generator", type=click.Path(path_type=Path), help="In place of the domain's own.")
@click.option("--symmetry", default="mirror", show_default=True, help="As in segmenter train.")
@click.option("--set", "assignments", multiple=True, help="Change a value of the recipe.")
def main(
    domain: str,
    test: Path,
    out: Path,
    photos: Path | None,
    masks: Path | None,
    preds: tuple[str, ...],
    others: tuple[str, ...],
    seeds: str,
    samples: int,
    steps: int,
    generator: Path | None,
    symmetry: Symmetry,
    assignments: tuple[str, ...],
) -> None:
    """Print the table, and write it with all values to OUT."""
    torch.set_num_threads(1)  # the same numbers on any machine
    if generator is not None:
        assignments = (f"generator.weights={generator}", *assignments)
    torch.set_flush_denormal(True)
    tests = {"": Test(test)} | {f" ({n})": Test(Path(d)) for n, d in (o.split("=") for o in others)}
    rows: dict[str, list[dict[str, float]]] = {}

    def note(name: str, values: dict[str, float]) -> None:
        rows.setdefault(name, []).append(values)
        shown = "  ".join(f"{column} {value:.4f}" for column, value in values.items())
        click.echo(f"{name:44s} {shown}", err=True)

    def note_segmenter(name: str, segmenter: Segmenter) -> None:
        for where, of in tests.items():
            note(name + where, of.score(lambda _, image: segmenter.alpha(image) > THRESHOLD))

    for where, of in tests.items():
        note(f"Otsu{where}", of.score(lambda _, image: otsu_masks(image[None])[0]))
    for tool in preds:
        name, _, folder = tool.partition("=")
        note(name, tests[""].score(find_masks(Path(folder))))
    people = None
    for seed in map(int, seeds.split(",")):
        plan = Plan(seed=seed, steps=steps, augmentation=Augmentation(symmetry=symmetry))
        ours = learn_labels(domain, assignments, out, seed, samples, plan)
        note_segmenter("learnt from our labels", ours)
        if photos is not None and masks is not None:
            if people is None:
                people = taught_by_people(open_photos(photos), load_annotations(masks), ours.size)
            taught = open_segmenter(run_training(people, plan, out / f"people-{seed}"))
            note_segmenter("learnt from people's masks", taught)
            note("our labels of generated images", score_labels(taught, out / f"dataset-{seed}"))
    text = table(rows)
    (out / "table.txt").write_text(text + "\n")
    facts: dict[str, Any] = {"domain": domain, "samples": samples, "steps": steps}
    facts |= {"symmetry": symmetry, "set": assignments, "rows": rows}
    (out / "result.json").write_text(json.dumps(facts, indent=2) + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
