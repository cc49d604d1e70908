"""Provenance: what a dataset was made of, and one of its samples made again, byte by byte.

A sample alone would do for eyes, but a batch of another size may move a level here and there. So
the whole block is rendered in which the sample stood.
"""

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from l4f_datagen.checkpoints.open import discriminator_beside
from l4f_datagen.core.errors import CheckpointRefused, InputRefused, UsageError
from l4f_datagen.dataset.formats.backgrounds import Backgrounds, backgrounds_of
from l4f_datagen.dataset.formats.encoding import SUFFIXES, Encoder
from l4f_datagen.dataset.indexes import read_markers
from l4f_datagen.dataset.layout import marker_path
from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.io.disk import named_place, write_atomically
from l4f_datagen.io.download import file_hash
from l4f_datagen.pipeline.networks import Networks, obtain_networks
from l4f_datagen.recipe import Licence, Recipe, SamplingPart, check_recipe, recipe_hash
from l4f_datagen.rendering.latents import open_latents
from l4f_datagen.rendering.plan import Draw, sweep_of
from l4f_datagen.report.records import Records, read_records


def provenance(
    recipe: Recipe, networks: Networks, backgrounds: Backgrounds | None = None
) -> dict[str, Any]:
    """Return the origin of every pixel: no clock, no host, no path.

    With the course of the alpha network's training where it was trained for this recipe;
    ``latents`` is None where z is drawn.
    """
    named = recipe.sampling.latents
    latents = None if named is None else open_latents(named).sha256
    checkpoint = networks.checkpoint
    judge = discriminator_beside(checkpoint.path) if recipe.filters.discriminator else None
    licence = recipe.generator.licence
    if licence == Licence() and checkpoint.licence is not None:
        licence = checkpoint.licence  # the recipe says nothing, the file itself does
    return {
        "domain": recipe.domain,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(
            recipe,
            generator=checkpoint.fingerprint,
            alpha=networks.alpha_sha256,
            backgrounds=None if backgrounds is None else backgrounds.sha256,
            latents=latents,
            discriminator=None if judge is None else file_hash(judge),
        ),
        "generator": {
            "format": checkpoint.format,
            "sha256": checkpoint.sha256,
            "fingerprint": checkpoint.fingerprint,
            "resolution": checkpoint.spec.resolution,
            "origin": checkpoint.origin,
        },
        "alpha": {
            "sha256": networks.alpha_sha256,
            "training": dict(networks.alpha_labels),
            **({"run": dict(networks.alpha_course)} if networks.alpha_course else {}),
        },
        "latents": None if latents is None else {"sha256": latents},
        "licence": licence.facts,
        "package": f"l4f-datagen {version('l4f-datagen')}",
        "device": networks.renderer.device.type,
    }


ELSEWHERE = "name another folder with --out"


def make_again(
    folder: Path,
    key: str,
    out: Path,
    *,
    named: Mapping[str, Path] | None = None,
    device: str | None = None,
    offline: bool = False,
) -> dict[str, Any]:
    """Make one sample of a dataset again, accepted or rejected, as three files below ``out``.

    ``named`` has files of ``generator``, ``alpha`` and ``latents`` that lie elsewhere than for the
    dataset; ``device`` None takes the kind the dataset was made on. Returns ``files``, the paths
    written, and ``same``: True where the dataset has these files and they hold the same bytes,
    False where it has others, None where it has none to compare.

    CheckpointRefused for other weights or settings than those of the dataset.
    """
    origin = read_manifest(folder)["provenance"]
    if out.resolve().is_relative_to(folder.resolve()):
        problem = "lies in the dataset, which holds its own files alone"
        raise UsageError(os.fspath(out), problem, ELSEWHERE)
    records = read_records(folder)
    position = next((i for i in range(len(records)) if records.key(i) == key), None)
    if position is None:
        raise UsageError(key, f"is not in the ledger of {folder}", "name a key of ledger.jsonl")
    wanted = dict(origin["recipe"])
    # What older versions did where their recipes do not say.
    wanted["sampling"] = {"same_seeds": True, "refine": "none", **wanted["sampling"]}
    for name, weights in (named or {}).items():
        part, entry = ("sampling", name) if name == "latents" else (name, "weights")
        wanted[part] = {**wanted[part], entry: os.fspath(weights)}
    recipe = check_recipe(wanted, os.fspath(folder))
    backgrounds = backgrounds_of(recipe.output)
    device = device or str(origin["device"])
    networks = obtain_networks(recipe, device, offline=offline, doubts="ignore")
    if provenance(recipe, networks, backgrounds)["recipe_hash"] != origin["recipe_hash"]:
        problem = "was made with other weights, latents or backgrounds than these"
        remedy = "name its own ones with --generator, --alpha and --latents"
        raise CheckpointRefused(os.fspath(folder), problem, remedy)
    place = int(records.image_id[position]) - 1
    block = block_around(place, folder, recipe.sampling, records)
    rendered = networks.renderer.render(block)
    [sample] = [sample for sample in rendered if sample.key == key]
    [(_, encoded)] = Encoder(recipe.output, backgrounds).encode([sample])
    assert encoded is not None
    files = {
        f"images/{key}{SUFFIXES[recipe.output.image_format]}": encoded.image,
        f"masks/{key}.png": encoded.mask,
        f"alpha/{key}.png": encoded.alpha,
    }
    with named_place(out, ELSEWHERE):
        for name, data in files.items():
            write_atomically(out / name, data)
    shard, same = f"{int(records.shard[position]):05d}", []
    for name, data in files.items():
        kind, file = name.split("/")
        for path in (folder / kind / shard / file, folder / "rejected" / shard / kind / file):
            if path.is_file():
                same.append(path.read_bytes() == data)
    return {"files": [out / name for name in files], "same": all(same) if same else None}


def block_around(place: int, folder: Path, sampling: SamplingPart, records: Records) -> list[Draw]:
    """Return the block in which a position (from 0) of a finished dataset stood, cut as it was.

    A run that counts accepted samples renders whole blocks and ends with one; a last attempt that
    was rejected tells of a count of attempts where the marker is not there, as after a download.
    """
    sweep, shard = sweep_of(sampling), int(records.shard[-1])
    end = sweep.capacity if records.accepted[-1] else len(records)
    path = marker_path(folder, shard)
    if path.exists():
        try:
            [marker] = read_markers(folder, [shard])
        except (OSError, ValueError) as error:
            problem = f"is no marker of a shard ({error})"
            remedy = "run the `make` that made the dataset again"
            raise InputRefused(os.fspath(path), problem, remedy) from error
        end = shard * sweep.shard_size + marker.planned
    first = place // sweep.block_size * sweep.block_size
    return [sweep.draw(k) for k in range(first, min(first + sweep.block_size, end))]
