"""Noisy discs: a renderer of one millisecond, and a make loop, to test what stores samples."""

from dataclasses import replace

import numpy as np

from l4f_datagen.core.masks import alpha_to_mask, border_contacts, coverage
from l4f_datagen.core.sample import Sample, sample_key
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.ownership import Asked
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart

BLOCK, PLANNED = 4, 8
ALL = ("png", "coco", "hf")
OUTPUT = {"category": "disc", "formats": list(ALL), "mask_threshold": 0.9}
PROVENANCE = {
    "domain": "discs",
    "package": "l4f-datagen 0",
    "device": "cpu",
    "recipe_hash": "abc",
    "generator": {"format": "discs", "sha256": "0" * 64},
    "alpha": {"sha256": "1" * 64},
    "licence": {"name": "Apache-2.0", "link": None},
    "recipe": {"description": "Discs.", "filters": {}, "output": OUTPUT},
}
FACTS = Facts("disc", 0.9, "Apache-2.0", provenance=PROVENANCE)
RUN = {"recipe": "category: disc\n", "recipe_hash": "abc", "workers": 2}
README = {"README.md": b"---\nlicense: apache-2.0\n---\n"}


def make_disc(seed, *, size=16, empty=False):
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


def accepted_discs(n):
    """The first ``n`` discs of the plan that are accepted."""
    return [disc for disc in map(make_disc, range(2 * n)) if disc.reason is None][:n]


def plan_blocks(shard, *, size=16):
    """The blocks of one shard of an endless plan over the seeds 0, 1, 2 ..."""
    for start in range(shard * PLANNED, (shard + 1) * PLANNED, BLOCK):
        yield [make_disc(seed, size=size) for seed in range(start, start + BLOCK)]


def split_blocks(shard):
    """The same blocks, every third disc in the split val."""
    for block in plan_blocks(shard):
        yield [replace(disc, split="train" if disc.seed % 3 else "val") for disc in block]


def recorded(shards, blocks=plan_blocks):
    """The same blocks; the shards that are rendered are noted."""

    def render(shard):
        shards.append(shard)
        return blocks(shard)

    return render


def take_shards(dataset, n, blocks=plan_blocks):
    """Take shards until ``n`` samples are accepted."""
    markers = []
    while n:
        shard = len(markers)
        marker = dataset.finished(shard, planned=PLANNED, wanted=n)
        if marker is None:
            marker = dataset.write(shard, blocks(shard), planned=PLANNED, wanted=n)
        markers.append(marker)
        n -= marker.accepted
    return markers


def make_dataset(folder, n, *, formats=ALL, blocks=plan_blocks, output=(), pages=None, **options):
    """Make, resume or extend a dataset of ``n`` accepted discs; gives the notes of the store."""
    what = OutputPart(formats=tuple(formats), **dict(output or ()))
    given = {**RUN, "asked": Asked(n, "accepted"), **options}
    with open_dataset(folder, output=what, **given) as dataset:
        take_shards(dataset, n, blocks)
        dataset.finish(FACTS, pages or README)
        return dataset.notes


def files_of(folder):
    """Give every file of a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
