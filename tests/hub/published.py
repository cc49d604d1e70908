"""A dataset folder as ``make`` leaves it, of noisy discs: card, contact sheet, real provenance."""

import hashlib
import io
import runpy
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image

from l4f_datagen.core.sample import Sample
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import Licence, check_recipe
from l4f_datagen.rendering.filters import measure_block
from l4f_datagen.rendering.plan import split_of
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
    given: dict[str, Any] = {
        "domain": "discs",
        "description": "Noisy discs.",
        "alpha": {"weights": "builtin:discs"},
        "output": {"category": "disc", "formats": ["png", "coco", "hf"]},
        "generator": {"weights": "builtin:discs", "licence": NC},
    } | recipe
    checked = check_recipe(given, "test")
    digest = hashlib.sha256(checked.dump().encode()).hexdigest()

    def blocks(shard: int) -> Iterator[list[Sample]]:
        for block in discs["plan_blocks"](shard, size=size):
            shares = checked.output.split
            bare = [replace(d, scores={}, split=split_of(d.key, shares)) for d in block]
            yield [
                replace(disc, scores=scores, reason=disc.reason and "border_contact")
                for disc, scores in zip(bare, measure_block(bare), strict=True)
            ]

    origin = {
        "domain": checked.domain,
        "recipe": checked.model_dump(mode="json"),
        "recipe_hash": digest,
        "package": "l4f-datagen 0.1.0",
        "device": "cpu",
        "generator": {"format": "native", "sha256": "cd" * 32, "resolution": size},
        "alpha": {"sha256": "12" * 32},
        "licence": asdict(Licence(**given["generator"]["licence"])),
    }
    facts = Facts("disc", 0.9, origin["licence"]["name"], "", "Noisy discs.", origin)
    run = {"recipe": checked.dump(), "recipe_hash": digest, "workers": 1}
    picture = io.BytesIO()
    Image.new("L", (9, 9)).save(picture, "PNG")
    with open_dataset(folder, output=checked.output, **run) as dataset:
        discs["take_shards"](dataset, n, blocks)
        pages = {"README.md": card_page(folder), "contact_sheet.png": picture.getvalue()}
        dataset.finish(facts, pages)
    return folder
