"""Columns: what the Parquet files of a dataset hold, with type, range and unit, for the card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from l4f_datagen.dataset.formats.hf import COLUMNS, DTYPES, PICTURE

WORDS: dict[str, tuple[str, str]] = {
    "key": ("", "name of the sample, unique in the dataset"),
    "image": ("level", "the picture, RGB"),
    "mask": ("level", "hard mask: 255 object, 0 background"),
    "label": ("class", "index mask, the mask for trainers: 1 object, 0 background"),
    "alpha": ("level", "soft matte: 0 background, the highest level object"),
    "image_id": ("", "position in the plan, from 1; rejected attempts leave gaps"),
    "psi": ("", "truncation psi: 1 none, 0 the mean picture"),
    "seed": ("", "draws the z of the sample"),
    "coverage": ("share of the picture", "mean of the mask"),
    "width": ("px", "width of the picture"),
    "height": ("px", "height of the picture"),
    "split": ("", "part of the dataset, told by the seed alone"),
    "border_contact": ("share of the border", "border pixels inside the mask"),
    "alpha_uncertainty": ("", "mean of min(alpha, 1 - alpha); 0 hard, 0.5 at most"),
    "num_components": ("", "connected parts of the mask, 8-connected"),
    "largest_share": ("share of the mask", "area of its largest part"),
    "discriminator": ("logit", "what the checkpoint's own discriminator says"),
    "noise_iou": ("", "IoU with the mask under other noise inputs"),
    "flip_iou": ("", "IoU with the mask of the mirrored layout"),
    "duplicate_distance": ("share of bits", "to the nearest accepted picture before, same shard"),
}
"""Column to its unit and what it is."""


@dataclass(frozen=True)
class Column:
    """One row of the card's table of columns."""

    name: str
    dtype: str
    range: str
    unit: str
    what: str


def has_labels(manifest: Mapping[str, Any]) -> bool:
    """Whether the dataset has index masks; those of version 0.1 have none."""
    return "label_names" in manifest


def column_types(manifest: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """Return the columns of the Parquet files in their order: the fixed ones, then the scores."""
    scores = sorted(name for name in manifest["scores"] if name not in COLUMNS)
    fixed = {
        name: kind for name, kind in COLUMNS.items() if name != "label" or has_labels(manifest)
    }
    return {**fixed, **dict.fromkeys(scores, pa.float64())}


def describe_columns(manifest: Mapping[str, Any], width: int, height: int) -> list[Column]:
    """Describe every column of the Parquet files.

    Args:
        manifest: of the dataset.
        width: of the pictures, px.
        height: of the pictures, px.
    """
    bits = manifest["alpha_bits"]
    psi, seeds = manifest["psi"], manifest["seeds"]
    ranges = {
        "image": "0 to 255",
        "mask": "0 or 255",
        "label": "0 or 1",
        "alpha": f"0 to {2**bits - 1}",
        "image_id": f"1 to {manifest['counts']['attempted']}",
        "psi": ", ".join(f"{value:g}" for value in psi),
        "seed": f"{seeds['first']} to {seeds['last']}",
        "width": str(width),
        "height": str(height),
        "split": ", ".join(manifest["splits"]),
    } | {
        name: f"{spread['min']:g} to {spread['max']:g}"
        for name, spread in manifest["scores"].items()
    }
    depth = {"image": 8, "mask": 8, "alpha": bits}
    columns = []
    for name, kind in column_types(manifest).items():
        unit, what = WORDS.get(name, ("", "score"))
        dtype = f"image, uint{depth.get(name, 8)}" if kind == PICTURE else DTYPES[kind]
        columns.append(Column(name, dtype, ranges.get(name, ""), unit, what))
    return columns
