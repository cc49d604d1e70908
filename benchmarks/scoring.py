"""How fast is scoring? python benchmarks/scoring.py [--pairs 1000] [--side 512] [--json].

Prints CPU and wall seconds for mask pairs from disk with all that `validate` computes, how much
memory grows between the first hundred pairs and the last, and how long a COCO truth of 5,000
objects takes to open. The pairs are made first: ragged blobs, as PNG.
"""

import io
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from l4f_datagen.annotations import load_annotations
from l4f_datagen.scoring import FolderPrediction, Pair, match_truth, score_match
from l4f_datagen.scoring.sweep import SweepCounts

COCO_OBJECTS = 5_000
COCO_IMAGES = 500
CORNERS = 60
DISTINCT = 50
KIB = 1024


def blob(side: int, number: int, shift: float, ragged: float) -> np.ndarray:
    """A star-shaped blob, bool ``side side``."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) - side / 2 - shift
    angle, reach = np.arctan2(rows, columns), np.hypot(rows, columns)
    outline = 0.3 + 0.06 * np.sin(5 * angle + number) + ragged * np.sin(40 * angle)
    return np.asarray(reach < side * outline)


def make_pairs(folder: Path, count: int, side: int) -> None:
    for name, shift, ragged in (("truth", 0.0, 0.0), ("pred", side / 170, 0.012)):
        (folder / name).mkdir()
        files = []
        for number in range(min(count, DISTINCT)):
            buffer = io.BytesIO()
            mask = blob(side, number, shift, ragged)
            Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
            files.append(buffer.getvalue())
        for number in range(count):
            (folder / name / f"{number:05d}.png").write_bytes(files[number % len(files)])


def make_coco(path: Path) -> None:
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    images = [
        {"id": k + 1, "file_name": f"{k:05d}.png", "height": 512, "width": 512}
        for k in range(COCO_IMAGES)
    ]
    annotations = []
    for k in range(COCO_OBJECTS):
        stream = np.random.RandomState(k)
        reach = stream.uniform(20, 60) * (1 + 0.2 * np.sin(3 * turn))
        x, y = stream.uniform(80, 430, 2)
        ring = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], axis=1)
        annotations.append(
            {
                "id": k + 1,
                "image_id": k % COCO_IMAGES + 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [[round(float(value), 2) for value in ring.ravel()]],
            }
        )
    categories = [{"id": 1, "name": "object"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(truth))


def timed(call: Callable[[], object]) -> dict[str, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def peak_kib() -> int:
    """Highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def score(folder: Path, sweep: bool) -> dict[str, Any]:
    """Score all pairs; peak memory is looked at after a hundred and at the end."""
    seen: list[int] = []
    counts = SweepCounts(("threshold",)) if sweep else None

    def watch(pair: Pair) -> None:
        seen.append(peak_kib() if len(seen) in (0, 100) else 0)
        if counts is not None:
            counts(pair._replace(alpha=pair.mask.astype(np.float32)))

    def run() -> None:
        matched = match_truth(load_annotations(folder / "truth"), FolderPrediction(folder / "pred"))
        score_match(matched, watch=watch)

    seconds = timed(run)
    early = seen[100] if len(seen) > 100 else seen[0]
    return {**seconds, "peak_mib": peak_kib() / KIB, "grown_mib": (peak_kib() - early) / KIB}


@click.command()
@click.option("--pairs", default=1000, show_default=True, help="How many.")
@click.option("--side", default=512, show_default=True, help="Of each mask, in px.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(pairs: int, side: int, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_pairs(folder, pairs, side)
        make_coco(folder / "coco.json")
        result: dict[str, Any] = {"pairs": pairs, "side": side, "score": score(folder, False)}
        result["score_and_sweep"] = score(folder, True)
        result["open_coco"] = timed(lambda: load_annotations(folder / "coco.json"))
        truth = load_annotations(folder / "coco.json")
        result["draw_coco"] = timed(lambda: [item.load() for item in truth])
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name in ("score", "score_and_sweep"):
        row = result[name]
        click.echo(
            f"{name:16s} {pairs} pairs of {side} px: {row['cpu_s']:.1f} s CPU, "
            f"{row['wall_s']:.1f} s; peak {row['peak_mib']:.0f} MiB, grown by "
            f"{row['grown_mib']:.0f} MiB after the first hundred"
        )
    for name in ("open_coco", "draw_coco"):
        row = result[name]
        click.echo(f"{name:16s} {COCO_OBJECTS} objects: {row['cpu_s']:.1f} s CPU")


if __name__ == "__main__":
    main()
