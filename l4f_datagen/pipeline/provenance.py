"""Provenance: what a dataset was made of, in the manifest and the card."""

from importlib.metadata import version
from typing import Any

from l4f_datagen.dataset.formats.backgrounds import Backgrounds
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.pipeline.networks import Networks
from l4f_datagen.recipe import Licence, Recipe, recipe_hash
from l4f_datagen.rendering.latents import open_latents


def provenance(
    recipe: Recipe, networks: Networks, backgrounds: Backgrounds | None = None
) -> dict[str, Any]:
    """Return the origin of every pixel: no clock, no host, no path.

    Keys: domain, recipe and its hash, checkpoint, alpha network (with the course of its training
    where it was trained for this recipe), latents (None where z is drawn), licence, package
    version, device.
    """
    named = recipe.sampling.latents
    latents = None if named is None else open_latents(named).sha256
    checkpoint = networks.checkpoint
    spec = checkpoint.spec
    licence = licence_of(recipe, networks)
    return {
        "domain": recipe.domain,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(
            recipe,
            generator=checkpoint.fingerprint,
            alpha=networks.alpha_sha256,
            backgrounds=None if backgrounds is None else backgrounds.sha256,
            latents=latents,
        ),
        "generator": {
            "format": checkpoint.format,
            "sha256": checkpoint.sha256,
            "fingerprint": checkpoint.fingerprint,
            "resolution": spec.resolution,
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
        "device": networks.generator.w_avg.device.type,
    }


def licence_of(recipe: Recipe, networks: Networks) -> Licence:
    """The recipe's word on the weights' licence, or else what the file itself says."""
    stored = networks.checkpoint.licence
    if recipe.generator.licence != Licence() or stored is None:
        return recipe.generator.licence
    return stored


def dataset_facts(recipe: Recipe, origin: dict[str, Any]) -> Facts:
    """Return the facts of indexes and manifest beyond the samples."""
    return Facts(
        category=recipe.output.category,
        mask_threshold=recipe.output.mask_threshold,
        licence=origin["licence"]["name"],
        licence_url=origin["licence"]["link"] or "",
        description=recipe.description,
        provenance=origin,
    )
