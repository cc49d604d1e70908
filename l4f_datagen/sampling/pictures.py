"""Pictures alone, for annotators: one PNG a key and a key file, no alpha network needed."""

import csv
from pathlib import Path

from PIL import Image

from l4f_datagen.errors import UsageError
from l4f_datagen.recipe import Recipe
from l4f_datagen.sampling.quota import Quota
from l4f_datagen.sampling.render import renderer_of
from l4f_datagen.sampling.sweep import sweep_of
from l4f_datagen.weights import choose_device, obtain_generator

KEY_FILE = "keys.csv"
COLUMNS = ("file", "key", "psi", "seed")


def write_pictures(
    recipe: Recipe, out: Path, number: int | None, *, device: str, offline: bool = False
) -> int:
    """Write ``number`` pictures of the plan (None: all of it) and ``keys.csv``; return how many.

    A picture already there is written again with the same bytes; files are staged and renamed.

    Raises:
        UsageError: an endless plan without a number, or a folder that cannot be written.
    """
    sweep = sweep_of(recipe.sampling)
    quota = Quota(sweep.capacity if number is None else number, "attempts", sweep)
    _, generator = obtain_generator(recipe.generator, choose_device(device), offline=offline)
    renderer = renderer_of(recipe, generator, None)
    rows = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for _, blocks in quota.shards():
            for block in blocks:
                for sample in renderer.render(block):
                    name = f"{sample.key}.png"
                    staged = out / f"{name}.part"
                    with staged.open("wb") as file:
                        Image.fromarray(sample.image).save(file, "PNG", compress_level=1)
                    staged.replace(out / name)
                    rows.append((name, sample.key, sample.psi, sample.seed))
                quota.book(0, len(block))
        staged = out / f"{KEY_FILE}.part"
        with staged.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        staged.replace(out / KEY_FILE)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error
    return len(rows)
