"""Front matter: the YAML head of a data card, and what the columns of the Parquet files hold."""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from l4f_datagen.dataset.formats.hf import COLUMNS, DTYPES, PICTURE, hf_configs

WORDS: dict[str, tuple[str, str]] = {
    "key": ("", "name of the sample, unique in the dataset"),
    "image": ("level", "the image, RGB"),
    "mask": ("level", "hard mask: 255 object, 0 background"),
    "label": ("class", "index mask, the mask for trainers: 1 object, 0 background"),
    "alpha": ("level", "soft matte: 0 background, the highest level object"),
    "image_id": ("", "position in the plan, from 1; rejected attempts leave gaps"),
    "psi": ("", "truncation psi: 1 none, 0 the mean image"),
    "seed": ("", "draws the z of the sample"),
    "coverage": ("share of the image", "mean of the mask"),
    "width": ("px", "width of the image"),
    "height": ("px", "height of the image"),
    "split": ("", "part of the dataset, told by the seed alone"),
    "border_contact": ("share of the border", "border pixels inside the mask"),
    "alpha_uncertainty": ("", "mean of min(alpha, 1 - alpha); 0 hard, 0.5 at most"),
    "num_components": ("", "connected parts of the mask, 8-connected"),
    "largest_share": ("share of the mask", "area of its largest part"),
    "discriminator": ("logit", "what the checkpoint's own discriminator says"),
    "noise_iou": ("", "IoU with the mask under other noise inputs"),
    "flip_iou": ("", "IoU with the mask of the mirrored layout"),
    "refined": ("", "1 where the image corrected alpha, 0 where alpha stayed as it was"),
    "refine_iou": ("", "IoU of the masks before and after alpha was refined"),
    "duplicate_distance": ("share of bits", "to the nearest accepted image before, same shard"),
}
"""Column to its unit and what it is."""


def has_labels(manifest: Mapping[str, Any]) -> bool:
    """Whether the dataset has index masks; those of version 0.1 have none."""
    return "label_names" in manifest


def column_types(manifest: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """Return the columns of the Parquet files in their order: the fixed ones, then the scores."""
    scores = sorted(name for name in manifest["scores"] if name not in COLUMNS)
    columns = COLUMNS | dict.fromkeys(scores, pa.float64())
    return {name: kind for name, kind in columns.items() if name != "label" or has_labels(manifest)}


def column_rows(manifest: Mapping[str, Any], width: int, height: int) -> list[tuple[str, ...]]:
    """Describe the columns of the Parquet files: name, type, range, unit, and what it is."""
    bits, seeds = manifest["alpha_bits"], manifest["seeds"]
    ranges = {
        "image": "0 to 255",
        "mask": "0 or 255",
        "label": "0 or 1",
        "alpha": f"0 to {2**bits - 1}",
        "image_id": f"1 to {manifest['counts']['attempted']}",
        "psi": ", ".join(f"{value:g}" for value in manifest["psi"]),
        "seed": f"{seeds['first']} to {seeds['last']}",
        "width": str(width),
        "height": str(height),
        "split": ", ".join(manifest["splits"]),
    }
    for name, spread in manifest["scores"].items():
        ranges[name] = f"{spread['min']:g} to {spread['max']:g}"
    rows: list[tuple[str, ...]] = []
    for name, kind in column_types(manifest).items():
        depth = bits if name == "alpha" else 8
        dtype = f"image, uint{depth}" if kind == PICTURE else DTYPES[kind]
        rows.append((name, dtype, ranges.get(name, ""), *WORDS.get(name, ("", "score"))))
    return rows


SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")  # of the Hub

HUB_LICENCES = (
    "agpl-3.0", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "gpl-2.0", "gpl-3.0",
    "lgpl-3.0", "mit", "mpl-2.0", "odbl", "odc-by", "openrail", "pddl", "unknown", "unlicense",
)  # fmt: skip
"""Names that the Hub takes as they are; any other licence is ``other`` with a name."""

PARQUET = re.compile(r"data/[a-z]+-\d{5,}\.parquet")


def front_matter(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the YAML head of the card; without Parquet files it names none."""
    origin = manifest["provenance"]
    head = {
        **licence_keys(origin["licence"]),
        "pretty_name": f"{origin['domain']}, labelled by Labels4Free",
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [size_category(manifest["counts"]["accepted"])],
        "source_datasets": ["original"],
        "tags": ["synthetic", "stylegan2", "labels4free", "matting"],
    }
    files = parquet_files(manifest)
    if files or has_labels(manifest):  # version 0.1 wrote no table of the PNG files
        head |= hf_configs(manifest["formats"], list(manifest["splits"]))
    if files:
        head["dataset_info"] = {
            "features": [
                {"name": name, "dtype": "image" if kind == PICTURE else DTYPES[kind]}
                for name, kind in column_types(manifest).items()
            ],
            # No splits: readers want the size of their Arrow tables there, which nobody knows yet.
            "download_size": sum(files),
        }
    return head


def licence_keys(licence: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``license``, and where it is none of the Hub's own its name and link."""
    name = re.sub(r"[^a-z0-9.-]+", "-", licence["name"].lower()).strip("-.") or "unknown"
    if name in HUB_LICENCES:
        return {"license": name}
    keys = {"license": "other", "license_name": name}
    return keys | ({"license_link": licence["link"]} if licence["link"] else {})


def parquet_files(manifest: Mapping[str, Any]) -> list[int]:
    """Return the sizes in bytes of the Parquet files."""
    found = [item for shard in manifest["shards"] for item in shard["files"].items()]
    return [fact["bytes"] for path, fact in found if PARQUET.fullmatch(path)]


def size_category(accepted: int) -> str:
    """Name the Hub's size class, such as ``n<1K``."""
    place = min(max(len(str(accepted)) - 3, 0), len(SIZES) - 1)
    return f"{SIZES[place - 1]}<n<{SIZES[place]}" if place else "n<1K"
