"""The data card: the dataset's README.md, what it is and where it comes from."""

from collections.abc import Mapping
from typing import Any

import yaml

from l4f_datagen.dataset.ledger import Counts
from l4f_datagen.writers.hf import hf_configs

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

BODY = """\
# {title}

{description}

{accepted} images with soft foreground mattes and hard masks, labelled by no human: the images are
samples of a StyleGAN2 generator, the mattes come from an alpha network that reads the generator's
features and was trained without labels (Labels4Free, Abdal, Zhu, Mitra and Wonka, ICCV 2021,
arXiv:2103.14968).

![samples: image with mask outline, alpha, cut-out](contact_sheet.png)

## What is in it

| | |
|---|---|
| samples | {accepted} accepted of {attempted} attempted; rejected: {rejected} |
| category | {category} |
| truncation psi | {psis} |
| seeds | {first_seed} to {last_seed} |
| image | uint8 RGB PNG, {size} |
| alpha | soft matte, PNG, {alpha_bits} bits, 0 background to {alpha_max} object |
| mask | PNG 0 or 255: alpha > {mask_threshold}, strictly |
| formats | {formats} |
{coco_line}
Every attempt, accepted or not, stands in `ledger.jsonl` with its scores: `coverage` (share of the
picture inside the mask), `border_contact` (share of border pixels inside the mask) and
`alpha_uncertainty` (mean of min(alpha, 1 - alpha), 0 to 0.5).

## Where it comes from

| | |
|---|---|
| made with | {package} on {device} |
| domain | {domain} |
| generator | {generator_format}, sha256 `{generator_sha256}` |
| alpha network | weights sha256 `{alpha_sha256}` |
| recipe | `recipe.yaml`, hash `{recipe_hash}` |

The same command with the same weights on the same kind of machine makes the same bytes.

## Licence

Weights: {licence}. {licence_words}

## Known weaknesses

Labels are machine-made and were checked by nobody: score a few hand-labelled images with
`l4f-datagen validate` before you rely on them. Thin parts, hair and soft edges are where mattes of
this method err most.
"""


def write_card(counts: Counts, origin: Mapping[str, Any]) -> str:
    """Return the card as Markdown with the YAML head that ``load_dataset`` and the Hub read."""
    recipe, licence = origin["recipe"], origin["licence"]
    head = yaml.safe_dump(front_matter(counts, origin), sort_keys=False, allow_unicode=True)
    left, top, right, bottom = recipe["generator"]["crop"] or (
        *(0, 0),
        *(origin["generator"]["resolution"],) * 2,
    )
    output = recipe["output"]
    rejected = ", ".join(f"{reason} {times}" for reason, times in sorted(counts.rejected.items()))
    coco = (
        f"\nCOCO: {counts.empty_masks} images have an empty mask and so no annotation.\n"
        if "coco" in output["formats"]
        else ""
    )
    link = f" ({licence['link']})" if licence["link"] else ""
    body = BODY.format(
        title=f"{origin['domain']}, labelled by Labels4Free",
        description=recipe["description"] or f"Samples of the domain {origin['domain']}.",
        accepted=counts.accepted,
        attempted=counts.attempted,
        rejected=rejected or "none",
        category=output["category"],
        psis=", ".join(f"{psi:g}" for psi in sorted(counts.psis)),
        first_seed=counts.first_seed,
        last_seed=counts.last_seed,
        size=f"{right - left} x {bottom - top}",
        alpha_bits=output["alpha_bits"],
        alpha_max=2 ** output["alpha_bits"] - 1,
        mask_threshold=output["mask_threshold"],
        formats=", ".join(output["formats"]),
        coco_line=coco,
        package=origin["package"],
        device=origin["device"],
        domain=origin["domain"],
        generator_format=origin["generator"]["format"],
        generator_sha256=origin["generator"]["sha256"],
        alpha_sha256=origin["alpha"]["sha256"],
        recipe_hash=origin["recipe_hash"],
        licence=f"{licence['name']}{link}",
        licence_words=licence_words(licence["commercial"]),
    )
    return f"---\n{head}---\n\n{body}"


def licence_words(commercial: bool | None) -> str:
    """Say what the weights' terms mean for the images.

    NVIDIA's text does not name outputs; passing the limit on is the careful reading.
    """
    if commercial is None:
        return "Nobody stated the terms of these weights: find out before you use the images."
    if commercial:
        return "The images may be used under the same terms."
    return (
        "Its terms forbid commercial use of the weights; that limit is passed on to these images "
        "to be safe. This is not legal advice."
    )


def front_matter(counts: Counts, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the YAML head."""
    licence = origin["licence"]
    known = {"license": licence["name"]}
    other = {
        "license": "other",
        "license_name": licence["name"],
        "license_link": licence["link"] or "LICENSE.md",
    }
    head: dict[str, Any] = known if licence["name"] == "apache-2.0" else other
    return {
        **head,
        "pretty_name": f"{origin['domain']}, labelled by Labels4Free",
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [size_category(counts.accepted)],
        "tags": ["synthetic", "stylegan2", "labels4free"],
        **hf_configs(origin["recipe"]["output"]["formats"]),
    }


def size_category(accepted: int) -> str:
    """Name the Hub's size class.

    >>> size_category(200)
    'n<1K'
    """
    return next((name for limit, name in SIZES if accepted < limit), "n>1M")
