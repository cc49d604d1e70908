"""Make this example again when the weights of toy-cars change: python docs/labelbox/make.py.

Writes eight images of toy-cars with their key file (`sample`), a Labelbox export (NDJSON, v2) with
one polygon per image, and updates what `validate` prints for them in README.md. A network drew the
polygons, not a person: see README.md.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from l4f_datagen.annotate.keys import read_key_file
from l4f_datagen.core.masks import polygons_xy
from l4f_datagen.segmenter.training import Arrays, Plan, new_training, predict, train
from l4f_datagen.toys.scene import render_scenes

FOLDER = Path(__file__).parent
EXPORT = FOLDER / "export.ndjson"
README = FOLDER / "README.md"
BEGIN, END = "<!-- printed by validate -->", "<!-- end -->"
NUM_IMAGES = 8
ENLARGED = 8
"""Outlines are traced on the prediction enlarged so many times: corners fall between pixels."""
TOLERANCE_PX = 0.4
"""How far the clicks may leave the outline, in pixels."""


def outline(alpha: NDArray[np.float32]) -> NDArray[np.float64]:
    """Trace the largest object as a person would click it: corners ``points 2`` in px."""
    large = ndimage.zoom(alpha, ENLARGED, order=1, grid_mode=True, mode="nearest")
    rings = [ring.points_xy for ring in polygons_xy(large > 0.5) if not ring.is_hole]
    ring = max(rings, key=lambda points: float(np.prod(np.ptp(points, axis=0))))
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    tolerance = TOLERANCE_PX * ENLARGED
    there = simplified(ring[: far + 1], tolerance)
    back = simplified(np.concatenate([ring[far:], ring[:1]]), tolerance)
    return np.concatenate([there[:-1], back[:-1]]) / ENLARGED


def simplified(line: NDArray[Any], tolerance: float) -> NDArray[np.float64]:
    """Drop corners within ``tolerance`` of the line through the rest (Douglas and Peucker)."""
    line = np.asarray(line, np.float64)
    start, end = line[0], line[-1]
    along = end - start
    away = line - start
    distance = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0]) / np.hypot(*along)
    worst = int(distance.argmax())
    if len(line) < 3 or distance[worst] <= tolerance:
        return line[[0, -1]]
    first, second = simplified(line[: worst + 1], tolerance), simplified(line[worst:], tolerance)
    return np.concatenate([first[:-1], second])


def export_row(name: str, number: int, ring: NDArray[np.float64], size_hw: tuple[int, int]) -> str:
    """One line of the export, the fields that Labelbox writes for one polygon."""
    polygon = [{"x": round(float(x), 1), "y": round(float(y), 1)} for x, y in ring]
    annotation = {
        "feature_id": f"feature{number}",
        "name": "car",
        "value": "car",
        "annotation_kind": "ImagePolygon",
        "classifications": [],
        "polygon": polygon,
    }
    label = {
        "label_kind": "Default",
        "version": "1.0.0",
        "id": f"label{number}",
        "annotations": {"objects": [annotation], "classifications": [], "relationships": []},
    }
    row = {
        "data_row": {"id": f"row{number}", "external_id": name, "row_data": name},
        "media_attributes": {"height": size_hw[0], "width": size_hw[1], "mime_type": "image/png"},
        "projects": {"project1": {"name": "toy cars", "labels": [label]}},
    }
    return json.dumps(row)


def tool(*words: str) -> str:
    """Run the tool at the root of the repository and return what it prints."""
    command = [sys.executable, "-m", "l4f_datagen", *words]
    root = FOLDER.parent.parent
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if told.returncode:
        raise click.ClickException(told.stderr.strip())
    return told.stdout


@click.command()
@click.option("--scenes", default=3000, show_default=True, help="Renders to train the U-Net on.")
@click.option("--steps", default=500, show_default=True, help="Of that training.")
def main(scenes: int, steps: int) -> None:
    """Make images, polygons and the table of the README."""
    folder = FOLDER / "to-label"
    shutil.rmtree(folder, ignore_errors=True)
    asked = ("sample", "--domain", "toy-cars", "--n", str(NUM_IMAGES), "--psi", "0.5,0.7,1.0")
    tool(*asked, "--out", "docs/labelbox/to-label")
    rows = read_key_file(folder).rows
    images = np.stack([np.asarray(Image.open(folder / row.file)) for row in rows])

    click.echo(f"training a U-Net on {scenes} renders with exact masks, {steps} steps", err=True)
    made = list(render_scenes(range(scenes), workers=1))
    known = np.stack([scene.image for scene in made]), np.stack([scene.alpha for scene in made])
    plan = Plan(steps=steps)
    net = train(new_training(plan), plan, Arrays(*known))
    rings = [outline(alpha) for alpha in predict(net, images)]
    named = enumerate(zip(rows, rings, strict=True), 1)
    size = (images.shape[1], images.shape[2])
    lines = [export_row(row.file, number, ring, size) for number, (row, ring) in named]
    EXPORT.write_text("".join(line + "\n" for line in lines))

    asked = ("validate", "--truth", "docs/labelbox/export.ndjson", "--domain", "toy-cars")
    table = tool(*asked, "--keys", "docs/labelbox/to-label")
    text = README.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    README.write_text(
        f"{before}{BEGIN}\n```\n{table.rstrip()}\n```\n{END}{after}", encoding="utf-8"
    )
    click.echo(table)
    corners = [len(ring) for ring in rings]
    size_kb = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) / 1000
    click.echo(f"corners {min(corners)} to {max(corners)}, {size_kb:.0f} kB in all", err=True)


if __name__ == "__main__":
    main()
