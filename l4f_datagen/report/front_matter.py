"""Front matter: the YAML head of a data card, as the Hugging Face Hub accepts it."""

import re
from collections.abc import Mapping
from typing import Any

from l4f_datagen.dataset.formats.hf import DTYPES, PICTURE, hf_configs
from l4f_datagen.report.columns import column_types, has_labels

SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)

HUB_LICENCES = (
    "agpl-3.0", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "gpl-2.0", "gpl-3.0",
    "lgpl-3.0", "mit", "mpl-2.0", "odbl", "odc-by", "openrail", "pddl", "unknown", "unlicense",
)  # fmt: skip
"""Names that the Hub takes as they are; any other licence is ``other`` with a name."""

PARQUET = re.compile(r"data/([a-z]+)-\d{5,}\.parquet")


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
    if not files:
        return head
    return head | {
        "dataset_info": {
            "features": [
                {"name": name, "dtype": "image" if kind == PICTURE else DTYPES[kind]}
                for name, kind in column_types(manifest).items()
            ],
            # No splits: readers want the size of their Arrow tables there, which nobody knows yet.
            "download_size": sum(map(sum, files.values())),
        },
    }


def licence_keys(licence: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``license``, and where it is none of the Hub's own its name and link."""
    name = re.sub(r"[^a-z0-9.-]+", "-", licence["name"].lower()).strip("-.") or "unknown"
    if name in HUB_LICENCES:
        return {"license": name}
    keys = {"license": "other", "license_name": name}
    return keys | ({"license_link": licence["link"]} if licence["link"] else {})


def parquet_files(manifest: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return split to the sizes in bytes of its Parquet files."""
    found: dict[str, list[int]] = {}
    for shard in manifest["shards"]:
        for path, fact in shard["files"].items():
            if match := PARQUET.fullmatch(path):
                found.setdefault(match[1], []).append(fact["bytes"])
    return found


def size_category(accepted: int) -> str:
    """Name the Hub's size class.

    >>> size_category(200)
    'n<1K'
    """
    return next((name for limit, name in SIZES if accepted < limit), "1B<n<10B")
