"""Pictures alone, for annotators: one PNG a key and a key file, no alpha network needed."""

import logging
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from l4f_datagen.annotate.diverse import MAX_DIVERSE, diverse_draws
from l4f_datagen.annotate.key_file import KeyFile, KeyRow, write_key_file
from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import Sample
from l4f_datagen.io.disk import staged
from l4f_datagen.models.devices import choose_device
from l4f_datagen.pipeline.networks import obtain_generator
from l4f_datagen.recipe import Recipe, recipe_hash
from l4f_datagen.rendering.latents import open_latents
from l4f_datagen.rendering.plan import Draw, sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import renderer_of

logger = logging.getLogger(__name__)

NO_PIXELS = {
    "psi",
    "seeds",
    "same_seeds",
    "block_size",
    "blocks_per_shard",
    "precision",
    "mask_cleanup",
    "refine",
}
"""Settings of the sampling that a picture of given psi and seed does not depend on."""


def write_pictures(
    recipe: Recipe,
    out: Path,
    number: int | None,
    *,
    device: str,
    diverse: bool | None = False,
    offline: bool = False,
) -> int:
    """Write ``number`` pictures of the plan (None: all of it) and their key file.

    A picture already there is written again with the same bytes; files are staged and renamed.

    Args:
        recipe: resolved.
        out: folder of the pictures.
        number: how many.
        device: "auto", "cpu", "cuda", ...
        diverse: pick pictures that differ (see `sampling.diverse`) instead of the first ones. None:
            where there are at most 1,000.
        offline: fetch nothing.

    Returns:
        How many were written.

    Raises:
        UsageError: an endless plan without a number, more than the plan has, or a folder that
            cannot be written.
    """
    sweep = sweep_of(recipe.sampling)
    wanted = sweep.capacity if number is None else number
    if diverse is None:
        diverse = number is not None and wanted <= MAX_DIVERSE
        if number is not None and not diverse:
            logger.info(
                f"{number} pictures: the first of the plan; diverse ones are picked up to 1,000"
            )
    Quota(wanted, "attempts", sweep)  # refuses before weights are opened
    checkpoint, generator = obtain_generator(
        recipe.generator, choose_device(device), offline=offline
    )
    renderer = renderer_of(recipe, generator, None)
    facts = picture_facts(recipe, checkpoint) | {"diverse": diverse}
    rows = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        draws: Iterable[Draw] = map(sweep.draw, range(wanted))
        if diverse:
            draws = diverse_draws(renderer, sweep, wanted)
        for block in _blocks(draws, sweep.block_size):
            for sample in renderer.render(block):
                rows.append(KeyRow(_save(sample, out), sample.psi, sample.seed))
        write_key_file(out, KeyFile(rows, facts))
        strangers = {path.name for path in out.glob("*.png")} - {row.file for row in rows}
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error
    if strangers:
        logger.warning(f"{len(strangers)} other pictures lie in {out}; keys.csv does not name them")
    return len(rows)


def _blocks(draws: Iterable[Draw], size: int) -> Iterator[list[Draw]]:
    rest = iter(draws)
    while block := list(islice(rest, size)):
        yield block


def _save(sample: Sample, out: Path) -> str:
    name = f"{sample.key}.png"
    with staged(out / name) as file:
        Image.fromarray(sample.image).save(file, "PNG", compress_level=1)
    return name


def picture_facts(recipe: Recipe, checkpoint: GeneratorCheckpoint) -> dict[str, Any]:
    """Say what drew the pictures, for the key file.

    ``drawn_with`` holds what decides their pixels, by its name in the recipe. The recipe's hash is
    taken without an alpha network: none had a part in the pictures.
    """
    fingerprint = checkpoint.fingerprint
    generator = recipe.generator.model_dump(mode="json", include={"class_index", "crop"})
    sampling = recipe.sampling.model_dump(mode="json", exclude=NO_PIXELS)
    if recipe.sampling.latents is not None:
        sampling["latents"] = open_latents(recipe.sampling.latents).sha256
    return {
        "domain": recipe.domain,
        "generator_sha256": checkpoint.sha256,
        "recipe_hash": recipe_hash(
            recipe, generator=fingerprint, alpha="none", latents=sampling["latents"]
        ),
        "drawn_with": {
            "generator.fingerprint": fingerprint,
            **{f"generator.{name}": value for name, value in generator.items()},
            **{f"sampling.{name}": value for name, value in sampling.items()},
        },
        "psi": list(recipe.sampling.psi),
        "seeds": recipe.sampling.seeds,
        "precision": recipe.sampling.precision,
        "package": f"l4f-datagen {version('l4f-datagen')}",
    }
