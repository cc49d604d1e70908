"""A dataset folder as ``make`` leaves it, of noisy discs: card, contact sheet, real provenance."""

import hashlib
import io
import runpy
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import Licence, check_recipe
from l4f_datagen.rendering.plan import split_of
from l4f_datagen.rendering.scores import measure_block
from l4f_datagen.report.card import card_page

discs = runpy.run_path(str(Path(__file__).parents[1] / "discs.py"))

NC = {
    "name": "nvidia-source-code-license-nc",
    "link": "https://nvlabs.github.io/stylegan2/license.html",
    "commercial": False,
}
OUTPUT = {"category": "disc", "split": {"val": 0.4}}
APACHE = {"name": "apache-2.0", "link": None, "commercial": True}


def publishable(folder: Path, n: int = 20, *, size: int = 16, **recipe: Any) -> Path:
    """Make a finished dataset of ``n`` accepted discs; returns its folder."""
    recipe = {"domain": "discs", "description": "Noisy discs.", **recipe}
    recipe.setdefault("output", {"category": "disc", "formats": ["png", "coco", "hf"]})
    recipe.setdefault("generator", {"weights": "builtin:discs", "licence": NC})
    recipe.setdefault("alpha", {"weights": "builtin:discs"})
    checked = check_recipe(recipe, "test")
    shares = checked.output.split

    def blocks(shard: int) -> Iterator[list[Sample]]:
        planned, block = discs["PLANNED"], discs["BLOCK"]
        for start in range(shard * planned, (shard + 1) * planned, block):
            drawn = [discs["make_disc"](seed, size=size) for seed in range(start, start + block)]
            bare = [replace(disc, scores={}, split=split_of(disc.key, shares)) for disc in drawn]
            yield [
                replace(disc, scores=scores, reason=disc.reason and "border_contact")
                for disc, scores in zip(bare, measure_block(bare), strict=True)
            ]

    digest = hashlib.sha256(checked.dump().encode()).hexdigest()
    origin = {
        "domain": checked.domain,
        "recipe": checked.model_dump(mode="json"),
        "recipe_hash": digest,
        "generator": {"format": "native", "sha256": "cd" * 32, "resolution": size},
        "alpha": {"sha256": "12" * 32},
        "licence": asdict(Licence(**recipe["generator"]["licence"])),
        "package": "l4f-datagen 0.1.0",
        "device": "cpu",
    }
    facts = Facts("disc", 0.9, origin["licence"]["name"], "", "Noisy discs.", origin)
    run = {"recipe": checked.dump(), "recipe_hash": digest, "workers": 1}
    with open_dataset(folder, output=checked.output, **run) as dataset:
        discs["take_shards"](dataset, n, blocks)
        pages = {"README.md": card_page(folder), "contact_sheet.png": _picture()}
        dataset.finish(facts, pages)
    return folder


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
