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
from l4f_datagen.report.front_matter import (
    describe_columns,
    front_matter,
    has_labels,
    parquet_files,
)
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


def write_card(manifest: bytes, *, scores: Mapping[str, Any] | None = None, notes: str = "") -> str:
    """Return the card as Markdown with the YAML head that ``load_dataset`` and the Hub read.

    ``manifest`` is the content of ``manifest.json``. ``scores`` are left out where ``validate
    --record`` wrote them for another manifest; ``notes`` stand below the marker.
    """
    facts = json.loads(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    fitting = scores if scores and scores.get("manifest_sha256") == digest else None
    head = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    said = {"manifest_sha256": digest, "scores": fitting and score_rows(fitting)}
    # Not escaped: Markdown, of the user's own words.
    body = fill_template("card.md.j2", card_facts(facts) | said, escape=False)
    return join_card(f"---\n{head}---\n\n{body.strip()}\n\n", notes)


def card_page(folder: Path) -> Callable[[bytes], bytes]:
    """Return what writes the card of a folder from the bytes of its manifest."""
    return lambda manifest: encode_card(
        write_card(manifest, scores=recorded_scores(folder), notes=read_notes(folder))
    )


def rewrite_card(folder: Path) -> Path:
    """Write the card of a finished dataset anew; what people wrote below its marker stays."""
    read_manifest(folder)
    path = folder / CARD
    if path.exists() and CARD_MARKER.encode() not in path.read_bytes():
        problem = "its marker line is missing, so your words cannot be told from the tool's"
        remedy = (
            "move the file away and run the command again, then put your words below the marker"
        )
        raise UsageError(str(path), problem, remedy)
    write_atomically(path, card_page(folder)((folder / MANIFEST).read_bytes()))
    return path


def recorded_scores(folder: Path) -> dict[str, Any] | None:
    """Read the scores of ``validate --record``, if there are any that can be read."""
    try:
        scores = json.loads((folder / SCORES).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return scores if isinstance(scores, dict) else None


def card_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template says, all of it from the manifest."""
    origin = manifest["provenance"]
    recipe = origin["recipe"]
    side = origin["generator"]["resolution"]
    left, top, right, bottom = recipe["generator"]["crop"] or (0, 0, side, side)
    width, height = right - left, bottom - top
    domain = origin["domain"]
    weights = {part: _named(recipe[part]["weights"]) for part in ("generator", "alpha")}
    local = [part for part in weights if _is_local(recipe[part]["weights"])]
    columns = describe_columns(manifest, width, height) if parquet_files(manifest) else []
    words = f"{domain} {manifest['category']} {recipe['description']}".lower()
    return {
        **{key: manifest[key] for key in ("counts", "splits", "category", "formats", "seeds")},
        **{key: origin[key] for key in ("package", "device", "generator", "alpha", "recipe_hash")},
        "title": f"{domain}, labelled by Labels4Free",
        "domain": domain,
        "description": recipe["description"] or f"Samples of the domain {domain}.",
        "few_shot": supervision(origin["alpha"]),
        "chosen": (origin["alpha"].get("training") or {}).get("supervision", ""),
        "has_sheet": "contact_sheet.png" in manifest["indexes"],
        "loadable": "user/name" if columns else "",
        "columns": columns,
        **label_places(manifest),
        "width": width,
        "height": height,
        "psis": [f"{psi:g}" for psi in manifest["psi"]],
        "mask_threshold": manifest["mask_threshold"],
        "sampling": recipe["sampling"],
        "cleanup": [step.replace("_", " ") for step in recipe["sampling"].get("mask_cleanup", ())],
        "filters": filter_rows(recipe["filters"], manifest["counts"]["rejected"]),
        "licence": {"attribution": None, **origin["licence"]},
        "licence_words": licence_words(origin["licence"]["commercial"]),
        "weights": weights,
        "local_weights": " and ".join(local),
        "latents": origin.get("latents"),
        "composites": recipe["output"].get("composites", "none"),
        "trained_here": recipe["alpha"]["weights"] is None,
        "faces": any(word in words for word in FACES),
        "image_files": IMAGE_FILES[recipe["output"].get("image_format", "png")],
        "lossy": recipe["output"].get("image_format") == "jpeg",
        "command": command(manifest),
    }


def label_places(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return where trainers find class indices, masks and mattes, and the highest alpha level."""
    places: dict[str, list[str]] = {"label": [], "mask": [], "alpha": []}
    folders = {"label": "labels", "mask": "masks", "alpha": "alpha"}
    if not has_labels(manifest):
        del places["label"]
    for part, found in places.items():
        found += [f"column `{part}`"] if "hf" in manifest["formats"] else []
        found += [f"`{folders[part]}/`"] if "png" in manifest["formats"] else []
        found += [f"`KEY_{part}.png`"] if "imagefolder" in manifest["formats"] else []
        found += [f"`KEY.{part}.png`"] if "webdataset" in manifest["formats"] else []
    if manifest["alpha_bits"] == 16 and "webdataset" in manifest["formats"]:
        places["alpha"][-1] = "`KEY.alpha16.npy`"
    return {
        **{f"{part}_places": places.get(part, []) for part in folders},
        "label_names": manifest.get("label_names", ["background", manifest["category"]]),
        "alpha_max": 2 ** manifest["alpha_bits"] - 1,
    }


def command(manifest: Mapping[str, Any]) -> str:
    """Return the command that makes the dataset again from its ``recipe.yaml``.

    A last shard cut short was cut at the wanted number of accepted samples; otherwise the number
    of attempts says where the dataset ends.
    """
    recipe, counts = manifest["provenance"]["recipe"], manifest["counts"]
    if any(shard["attempted"] < shard["planned"] for shard in manifest["shards"][-1:]):
        count = ["--n", str(counts["accepted"])]
    else:
        count = ["--n", str(counts["attempted"]), "--count", "attempts"]
    words = ["l4f-datagen", "make", "--recipe", RECIPE, *count]
    for part in ("generator", "alpha"):
        if _is_local(recipe[part]["weights"]):
            words += [f"--{part}", f"{part.upper()}_FILE"]
    if recipe["sampling"].get("latents"):
        words += ["--latents", "LATENTS_FILE"]
    if recipe["output"].get("composites_folder"):
        words += ["--set", "output.composites_folder=BACKGROUNDS_FOLDER"]
    return shlex.join([*words, "--device", manifest["provenance"]["device"], "--out", "again"])


def filter_rows(filters: Mapping[str, Any], rejected: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return one row a filter: name, limits, and how many attempts it rejected."""
    return [
        {
            "name": name,
            "limits": ", ".join(f"{key} {value}" for key, value in filters[name].items()),
            "rejected": sum(rejected.get(reason, 0) for reason in reasons),
        }
        for name, reasons in REASONS.items()
        if filters.get(name) is not None
    ]


def score_rows(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Lay recorded scores out for the card's table, shares with four digits."""
    intervals = scores.get("intervals") or {}
    rows = [
        {
            "name": name,
            "value": f"{value:.4f}" if isinstance(value, float) else f"{value}",
            "interval": " to ".join(f"{end:.4f}" for end in intervals.get(name) or ()),
        }
        for name, value in scores["metrics"].items()
    ]
    return {"n": scores["n"], "truth": scores["truth"], "rows": rows}


def supervision(alpha: Mapping[str, Any]) -> str:
    """Say which labels an alpha network has seen; empty for an unsupervised one."""
    training = alpha.get("training") or {}
    if training.get("unsupervised", True):
        return ""
    return str(training.get("supervision") or f"{training.get('labels', 'some')} labelled images")


def licence_words(commercial: bool | None) -> str:
    """Say what the weights' terms mean for the images.

    NVIDIA's text does not name outputs; passing the limit on is the careful reading.
    """
    if commercial is None:
        return "The terms of these weights are not known: find them out before you use the images."
    if commercial:
        return "The images may be used under the same terms."
    return (
        "Its terms forbid commercial use of the weights; that limit is passed on to these images "
        "to be safe. This is not legal advice."
    )


def _is_local(weights: str | None) -> bool:
    return weights is not None and not weights.startswith(NAMED)


def _named(weights: str | None) -> str:
    """Name weights that others can fetch; a path on somebody's machine helps nobody."""
    return weights if weights is not None and weights.startswith(NAMED) else ""


def manifest_named(card: str) -> str | None:
    """Return the SHA-256 of the manifest a card was written from, as the card says it."""
    _, found, rest = card.partition(f"| manifest | `{MANIFEST}`, sha256 `")
    return rest.partition("`")[0] if found else None
