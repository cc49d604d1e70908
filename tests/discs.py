"""Noisy discs: a renderer of one millisecond, and a make loop, to test what stores samples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from l4f_datagen.core.masks import alpha_to_mask, border_contacts, coverage
from l4f_datagen.core.sample import Sample, sample_key
from l4f_datagen.dataset.manifest import Facts, Marker
from l4f_datagen.dataset.ownership import Asked
from l4f_datagen.dataset.store import Dataset, open_dataset
from l4f_datagen.recipe import OutputPart

BLOCK, PLANNED = 4, 8
PROVENANCE: dict[str, Any] = {
    **{"domain": "discs", "package": "l4f-datagen 0", "device": "cpu", "recipe_hash": "abc"},
    **{"generator": {"format": "discs", "sha256": "0" * 64}, "alpha": {"sha256": "1" * 64}},
    "licence": {"name": "Apache-2.0", "link": None},
    "recipe": {
        **{"description": "Discs.", "filters": {}},
        "output": {"category": "disc", "formats": ["png", "coco", "hf"], "mask_threshold": 0.9},
    },
}
FACTS = Facts("disc", 0.9, "Apache-2.0", provenance=PROVENANCE)
RUN: dict[str, Any] = {"recipe": "category: disc\n", "recipe_hash": "abc", "workers": 2}
ALL = ("png", "coco", "hf")

Blocks = Callable[[int], Iterator[list[Sample]]]


def make_disc(seed: int, *, size: int = 16, empty: bool = False) -> Sample:
    """Draw the disc of a seed, image_id ``seed + 1``; every fifth one is rejected."""
    rng = np.random.RandomState(seed)
    x, y, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3)
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    distance = np.hypot(rows - y, columns - x) - (-1.0 if empty else radius)
    alpha = np.clip(0.5 - distance * size / 2, 0, 1).astype(np.float32)
    mask = alpha_to_mask(alpha, 0.9)
    image = rng.randint(0, 256, (size, size, 3)).astype(np.uint8)
    scores = {"border_contact": float(border_contacts(mask[None])[0]), "coverage": coverage(mask)}
    reason = "border" if seed % 5 == 3 else None
    return Sample(seed + 1, sample_key(1.0, seed), 1.0, seed, image, alpha, mask, scores, reason)


def accepted_discs(n: int) -> list[Sample]:
    """The first ``n`` discs of the plan that are accepted."""
    return [disc for disc in map(make_disc, range(2 * n)) if disc.reason is None][:n]


def plan_blocks(shard: int, *, size: int = 16) -> Iterator[list[Sample]]:
    """The blocks of one shard of an endless plan over the seeds 0, 1, 2 ..."""
    for start in range(shard * PLANNED, (shard + 1) * PLANNED, BLOCK):
        yield [make_disc(seed, size=size) for seed in range(start, start + BLOCK)]


def split_blocks(shard: int) -> Iterator[list[Sample]]:
    """The same blocks, every third disc in the split val."""
    for block in plan_blocks(shard):
        yield [replace(disc, split="train" if disc.seed % 3 else "val") for disc in block]


def recorded(shards: list[int], blocks: Blocks = plan_blocks) -> Blocks:
    """The same blocks; the shards that are rendered are noted."""

    def render(shard: int) -> Iterator[list[Sample]]:
        shards.append(shard)
        return blocks(shard)

    return render


def take_shards(dataset: Dataset, n: int, blocks: Blocks = plan_blocks) -> list[Marker]:
    """Take shards until ``n`` samples are accepted."""
    markers: list[Marker] = []
    while n:
        shard = len(markers)
        marker = dataset.finished(shard, planned=PLANNED, wanted=n)
        if marker is None:
            marker = dataset.write(shard, blocks(shard), planned=PLANNED, wanted=n)
        markers.append(marker)
        n -= marker.accepted
    return markers


def make_dataset(
    folder: Path,
    n: int,
    *,
    formats: Sequence[str] = ALL,
    blocks: Blocks = plan_blocks,
    output: Mapping[str, Any] | None = None,
    pages: Mapping[str, bytes] | None = None,
    **options: Any,
) -> list[str]:
    """Make, resume or extend a dataset of ``n`` accepted discs; gives the notes of the store."""
    what = OutputPart(formats=tuple(formats), **(output or {}))
    given = {**RUN, "asked": Asked(n, "accepted"), **options}
    with open_dataset(folder, output=what, **given) as dataset:
        take_shards(dataset, n, blocks)
        dataset.finish(FACTS, pages or {"README.md": b"---\nlicense: apache-2.0\n---\n"})
        return dataset.notes


def files_of(folder: Path) -> dict[str, bytes]:
    """Give every file of a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
