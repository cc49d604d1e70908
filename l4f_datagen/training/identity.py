"""Identity: what decides the weights of an alpha network, as a hash that names its training."""

import hashlib
import json
from pathlib import Path

from l4f_datagen.checkpoints.open import GeneratorCheckpoint, discriminator_beside
from l4f_datagen.io.download import default_cache, file_hash
from l4f_datagen.io.photographs import Box
from l4f_datagen.io.stores import STORES, listing_sha256
from l4f_datagen.recipe import AlphaPart
from l4f_datagen.recipe.domains import local_weights


def training_id(part: AlphaPart, checkpoint: GeneratorCheckpoint, crop: Box | None = None) -> str:
    """Name a training: sha256 over everything that decides the trained weights.

    Args:
        part: the recipe's alpha part.
        checkpoint: of the generator.
        crop: part of the canvas that the generator draws in, px.
    """
    values = part.model_dump(mode="json", exclude={"weights"})
    training = part.training
    if training.keep == "last":
        values["training"].pop("snapshot_interval")
    if training.reals in STORES or part.background == "pictures":
        values["crop"] = list(crop) if crop else None
    else:
        values.pop("fit")
    if training.discriminator == "pretrained":
        beside = discriminator_beside(checkpoint.path)
        values["discriminator"] = file_hash(beside) if beside else checkpoint.sha256
    images = images_of(part)
    # What lies at a path names it, wherever the path leads.
    if "reals" in images:
        values["training"].pop("reals_folder")
    if "backgrounds" in images:
        values.pop("background_path")
    named = {"alpha": values, "generator": generator_sha256(checkpoint), **images}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def generator_sha256(checkpoint: GeneratorCheckpoint) -> str:
    """Hash a generator's values as they are loaded, so that a copy in half precision differs.

    The bound that its layers clip at counts, too. Noise maps are left out: a training draws its own
    noise.
    """
    digest = hashlib.sha256()
    if checkpoint.spec.conv_clamp is not None:
        digest.update(f"conv_clamp {checkpoint.spec.conv_clamp}".encode())
    for name, value in sorted(checkpoint.complete_state.items()):
        if not name.endswith(".noise_const"):
            digest.update(f"{name}{list(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def images_of(part: AlphaPart) -> dict[str, str]:
    """Name what lies at the recipe's paths: images by their listing, weights by their bytes.

    Weights of the catalogue are named by their entry, which is the same before they are fetched.

    Returns:
        ``reals`` and ``backgrounds``, each where the recipe names a path and it can be listed.
    """
    found = {}
    if part.training.reals_folder is not None:
        found["reals"] = listing_sha256(part.training.reals_folder, part.training.reals)
    if part.background == "pictures":
        found["backgrounds"] = listing_sha256(part.background_path or "")
    weights = part.background_path or ""
    if part.background == "generator" and not weights.startswith("catalogue:"):
        file = local_weights(weights, "generator", key="alpha.background_path")
        found["backgrounds"] = file_hash(file) if file.is_file() else None
    return {name: digest for name, digest in found.items() if digest is not None}


def cached_training(
    part: AlphaPart, checkpoint: GeneratorCheckpoint, crop: Box | None = None
) -> Path:
    """Return the folder where the alpha network of this recipe and generator is kept."""
    return default_cache() / "alpha" / training_id(part, checkpoint, crop)[:16]
