"""The data card: the dataset's README.md, what it is and where it comes from.

Written from the manifest alone, and from scores recorded for that very manifest. What people write
below the marker survives (see ``dataset.layout``).
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.layout import CARD, CARD_MARKER, RECIPE, encode_card, join_card, read_notes
from l4f_datagen.dataset.manifest import MANIFEST, read_manifest
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.report.front_matter import column_rows, front_matter, has_labels, parquet_files
from l4f_datagen.report.page import fill_template

SCORES = "scores.json"
FACES = ("face", "ffhq", "portrait", "person", "persons")
IMAGE_FILES = {
    "png": "images PNG",
    "webp": "images WebP, lossless",
    "jpeg": "images JPEG, quality 95, 4:4:4",
}
"""Image format to what the files are."""
NAMED = ("builtin:", "catalogue:", "hf://", "https://")
"""How weights begin that others can fetch; a path on somebody's machine helps nobody."""
REASONS = {
    "coverage": ("coverage_low", "coverage_high"),
    "border": ("border_contact",),
    "components": ("too_many_components", "largest_share_low"),
    "uncertainty": ("alpha_uncertain",),
    "discriminator": ("discriminator_low",),
    "noise": ("noise_unstable",),
    "flip": ("flip_unstable",),
    "duplicates": ("near_duplicate",),
}
"""Filter to the reasons it gives in the ledger."""
FOLDERS = {"label": "labels", "mask": "masks", "alpha": "alpha"}
PLACES = {
    "hf": "column `{part}`",
    "png": "`{folder}/`",
    "imagefolder": "`KEY_{part}.png`",
    "webdataset": "`KEY.{part}.png`",
}
"""Format to where trainers find class indices, masks and mattes."""


def write_card(manifest: bytes, *, scores: Any = None, notes: str = "") -> str:
    """Return the card as Markdown with the YAML head that ``load_dataset`` and the Hub read.

    ``manifest`` is the content of ``manifest.json``. ``scores`` are left out where ``validate
    --record`` wrote them for another manifest; ``notes`` stand below the marker.
    """
    facts = json.loads(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    fits = isinstance(scores, dict) and scores.get("manifest_sha256") == digest
    head = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    said = card_facts(facts) | {"manifest_sha256": digest, "scores": scores if fits else None}
    # Not escaped: Markdown, of the user's own words.
    body = fill_template("card.md.j2", said, escape=False)
    return join_card(f"---\n{head}---\n\n{body.strip()}\n\n", notes)


def card_page(folder: Path) -> Callable[[bytes], bytes]:
    """Return what writes the card of a folder from the bytes of its manifest."""

    def write(manifest: bytes) -> bytes:
        try:
            scores = json.loads((folder / SCORES).read_bytes())
        except (FileNotFoundError, ValueError):
            scores = None
        return encode_card(write_card(manifest, scores=scores, notes=read_notes(folder)))

    return write


def rewrite_card(folder: Path) -> Path:
    """Write the card of a finished dataset anew; what people wrote below its marker stays."""
    read_manifest(folder)
    path = folder / CARD
    if path.exists() and CARD_MARKER.encode() not in path.read_bytes():
        problem = "its marker line is missing, so your words cannot be told from the tool's"
        remedy = "move the file away, run again, and put your words below the new marker"
        raise UsageError(str(path), problem, remedy)
    write_atomically(path, card_page(folder)((folder / MANIFEST).read_bytes()))
    return path


def manifest_named(card: str) -> str | None:
    """Return the SHA-256 of the manifest a card was written from, as the card says it."""
    _, found, rest = card.partition(f"| manifest | `{MANIFEST}`, sha256 `")
    return rest.partition("`")[0] if found else None


def card_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template says, all of it from the manifest."""
    origin = manifest["provenance"]
    recipe, domain = origin["recipe"], origin["domain"]
    side = origin["generator"]["resolution"]
    left, top, right, bottom = recipe["generator"]["crop"] or (0, 0, side, side)
    width, height = right - left, bottom - top
    local = local_parts(recipe)
    columns = column_rows(manifest, width, height) if parquet_files(manifest) else []
    words = f"{domain} {manifest['category']} {recipe['description']}".lower()
    training = origin["alpha"].get("training") or {}
    chosen = training.get("supervision", "")
    some = f"{training.get('labels', 'some')} labelled images"
    image_format = recipe["output"].get("image_format", "png")
    rejected = manifest["counts"]["rejected"]
    return {
        "manifest": manifest,
        "origin": {"latents": None} | origin,
        "recipe": recipe,
        **label_places(manifest),
        "few_shot": "" if training.get("unsupervised", True) else chosen or some,
        "chosen": chosen,
        "columns": columns,
        "width": width,
        "height": height,
        "filters": [
            {
                "name": name,
                "limits": ", ".join(f"{key} {value}" for key, value in limits.items()),
                "rejected": sum(rejected.get(reason, 0) for reason in reasons),
            }
            for name, reasons in REASONS.items()
            if (limits := recipe["filters"].get(name)) is not None
        ],
        "weights": {
            part: "" if part in local else recipe[part]["weights"] or ""
            for part in ("generator", "alpha")
        },
        "local": local,
        "faces": any(word in words for word in FACES),
        "image_format": image_format,
        "image_files": IMAGE_FILES[image_format],
        "command": command(manifest),
    }


def label_places(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return where trainers find class indices, masks and mattes, and the highest alpha level."""
    formats = [name for name in PLACES if name in manifest["formats"]]
    places = {
        f"{part}_places": [PLACES[name].format(part=part, folder=folder) for name in formats]
        for part, folder in FOLDERS.items()
    }
    if not has_labels(manifest):
        places["label_places"] = []
    if manifest["alpha_bits"] == 16 and "webdataset" in formats:
        places["alpha_places"][-1] = "`KEY.alpha16.npy`"
    return {
        **places,
        "label_names": manifest.get("label_names", ["background", manifest["category"]]),
        "alpha_max": 2 ** manifest["alpha_bits"] - 1,
    }


def local_parts(recipe: Mapping[str, Any]) -> list[str]:
    """Name the parts whose weights are files of one machine."""
    weights = {part: recipe[part]["weights"] for part in ("generator", "alpha")}
    return [part for part, name in weights.items() if name and not name.startswith(NAMED)]


def command(manifest: Mapping[str, Any]) -> str:
    """Return the command that makes the dataset again from its ``recipe.yaml``.

    A last shard cut short was cut at the wanted number of accepted samples; otherwise the number
    of attempts says where the dataset ends.
    """
    recipe, counts = manifest["provenance"]["recipe"], manifest["counts"]
    words = ["l4f-datagen", "make", "--recipe", RECIPE]
    if any(shard["attempted"] < shard["planned"] for shard in manifest["shards"][-1:]):
        words += ["--n", str(counts["accepted"])]
    else:
        words += ["--n", str(counts["attempted"]), "--count", "attempts"]
    for part in local_parts(recipe):
        words += [f"--{part}", f"{part.upper()}_FILE"]
    if recipe["sampling"].get("latents"):
        words += ["--latents", "LATENTS_FILE"]
    if recipe["output"].get("composites_folder"):
        words += ["--set", "output.composites_folder=BACKGROUNDS_FOLDER"]
    return shlex.join([*words, "--device", manifest["provenance"]["device"], "--out", "again"])
