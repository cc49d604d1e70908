"""Key file: the psi and seed of each image to annotate, and what rendered it.

``keys.csv`` has one row for each image (file, key, psi, seed); ``keys.json`` beside it says which
weights and settings rendered them, so that a score can be refused where the images would be
rendered differently today.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from l4f_datagen.annotations.records import sample_key_in
from l4f_datagen.checkpoints.open import GeneratorCheckpoint
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.sample import sample_key
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.recipe import Recipe, recipe_hash
from l4f_datagen.rendering.latents import open_latents

KEY_FILE, FACTS_FILE = "keys.csv", "keys.json"
COLUMNS = ("file", "key", "psi", "seed")
SCHEMA = 1  # of keys.json
MAX_BYTES = 1 << 28  # a choice, far above any key file
MAX_SEED = 2**32 - 1  # of NumPy's RandomState
NO_PIXELS = {
    *("psi", "seeds", "same_seeds", "block_size", "blocks_per_shard"),
    *("precision", "mask_cleanup", "refine"),
}
"""Settings of the sampling that an image of given psi and seed does not depend on."""


@dataclass(frozen=True)
class KeyRow:
    """One image: its file name, psi and seed."""

    file: str
    psi: float
    seed: int


@dataclass(frozen=True)
class KeyFile:
    """The images of one call of ``sample``."""

    rows: Sequence[KeyRow]
    # What rendered them, see ``image_facts``; empty where nothing says.
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: str = "keys"  # where they were read, for errors


def write_key_file(folder: Path, keys: KeyFile) -> None:
    """Write ``keys.csv`` and ``keys.json``, staged and renamed."""
    text = io.StringIO(newline="")
    rows = [(row.file, sample_key(row.psi, row.seed), row.psi, row.seed) for row in keys.rows]
    csv.writer(text).writerows([COLUMNS, *rows])
    facts = {"schema": SCHEMA, "pictures": len(rows), **keys.facts}
    write_atomically(folder / KEY_FILE, text.getvalue().encode())
    write_atomically(folder / FACTS_FILE, (json.dumps(facts, indent=2) + "\n").encode())


def keys_of(names: Sequence[str], source: str, path: Path | None) -> KeyFile:
    """Read a key file, or where ``path`` is None take psi and seed from names of ``source``.

    Of a name (``psi0700-seed0000123``) psi is what three decimals say; others are refused.
    """
    if path is not None:
        return read_key_file(path)
    rows = []
    for name in names:
        key, where = sample_key_in(name), f"{source} {name}"
        if key is None:
            remedy = "give --keys with the keys.csv of `sample`, or --pred"
            problem = "its name holds no key such as psi0700-seed0000123"
            raise AnnotationRefused(where, problem, remedy)
        psi, _, seed = key.removeprefix("psi").partition("-seed")
        rows.append(_row({"file": name, "psi": str(int(psi) / 1000), "seed": seed}, where))
    return KeyFile(rows, {}, source)


def read_key_file(path: Path) -> KeyFile:
    """Read the key file in a folder, or one named itself; with the facts beside it.

    Refused are a missing or malformed file, a number out of range, and a key named twice.
    """
    table = path / KEY_FILE if path.is_dir() else path.with_suffix(".csv")
    rows: dict[str, KeyRow] = {}
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    if not {"file", "psi", "seed"} <= set(reader.fieldnames or ()):
        remedy = "name the keys.csv that `sample` wrote"
        raise AnnotationRefused(str(table), "no columns file, psi and seed", remedy)
    try:
        for number, row in enumerate(reader, 2):
            where = f"{table} line {number}"
            key_row = _row(row, where)
            key = sample_key(key_row.psi, key_row.seed)
            if key in rows:
                raise AnnotationRefused(where, f"key {key} is named twice", "remove one")
            rows[key] = key_row
    except csv.Error as error:
        raise AnnotationRefused(str(table), f"no CSV ({error})", "make it again") from error
    if not rows:
        raise AnnotationRefused(str(table), "names no image", "run `sample` again")
    facts_path = table.with_suffix(".json")
    facts = _facts(facts_path) if facts_path.exists() else {}
    return KeyFile(list(rows.values()), facts, str(table))


def image_facts(recipe: Recipe, checkpoint: GeneratorCheckpoint) -> dict[str, Any]:
    """Return what rendered the images; ``drawn_with`` decides their pixels, by names in the recipe.

    The recipe's hash is taken without an alpha network: the images do not depend on one.
    """
    fingerprint = checkpoint.fingerprint
    generator = recipe.generator.model_dump(mode="json", include={"class_index", "crop"})
    sampling = recipe.sampling.model_dump(mode="json", exclude=NO_PIXELS)
    if recipe.sampling.latents is not None:
        sampling["latents"] = open_latents(recipe.sampling.latents).sha256
    made_with = {"generator": fingerprint, "alpha": "none", "latents": sampling["latents"]}
    return {
        "domain": recipe.domain,
        "generator_sha256": checkpoint.sha256,
        "recipe_hash": recipe_hash(recipe, **made_with),
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


def check_rendered_alike(keys: KeyFile, recipe: Recipe, checkpoint: GeneratorCheckpoint) -> None:
    """Refuse to score images that would be rendered differently today than the key file says."""
    today = image_facts(recipe, checkpoint)["drawn_with"]
    for name, then in keys.facts.get("drawn_with", {}).items():
        now = today.get(name)
        if then == now:
            continue
        problem = f"its images were rendered with {name} {then!r:.40}, now it is {now!r:.40}"
        remedy = f"give --set {name}={'null' if then is None else then}"
        if name in ("generator.fingerprint", "sampling.latents"):
            problem = f"its images were rendered with another {name} than this recipe's"
            remedy = "give the file they were rendered with"
        raise AnnotationRefused(keys.source, problem, remedy)


def _row(row: Mapping[str, str | None], where: str) -> KeyRow:
    try:
        psi, seed = float(row["psi"] or ""), int(row["seed"] or "")
    except (TypeError, ValueError):
        psi, seed = math.nan, -1
    if not 0 <= psi <= 2 or not 0 <= seed <= MAX_SEED:
        problem = f"psi {row['psi']!r:.20} and seed {row['seed']!r:.24}"
        raise AnnotationRefused(where, problem, "psi is in [0, 2], a seed a 32-bit number")
    name = PurePosixPath((row["file"] or "").replace("\\", "/")).name
    return KeyRow(name or sample_key(psi, seed), psi, seed)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise AnnotationRefused(str(path), "is larger than 256 MiB", "name a key file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise AnnotationRefused(str(path), problem, "name the folder `sample` wrote") from error
    except UnicodeDecodeError as error:
        raise AnnotationRefused(str(path), "not UTF-8 text", "save it as UTF-8") from error


def _facts(path: Path) -> dict[str, Any]:
    problem = "is no keys.json of `sample`"
    try:
        facts: Any = json.loads(_text(path))
        if isinstance(facts, dict) and isinstance(facts.get("drawn_with"), dict):
            if facts.get("schema") == SCHEMA:
                return facts
            problem = f"has schema {facts.get('schema')!r:.20}, expected {SCHEMA}"
    except (ValueError, RecursionError):
        problem = "not JSON"
    raise AnnotationRefused(str(path), problem, "run `sample` again")
