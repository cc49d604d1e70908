"""``l4f-datagen pretrain``: a generator from photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.options import DEVICE, FILE, NATURAL, OFFLINE, added, option
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.pretraining.plan import Precision
    from l4f_datagen.pretraining.state import Start

AUTO_START = {64: "toy-cars", 128: "toy-cars"}
"""At these sizes a run starts from the shipped toy cars, at 128 px with a resolution more: on skin
lesions this gave recognisable images after 8 kimg."""

EXAMPLES = """\
\b
Examples:
  l4f-datagen pretrain photos/ --out run
  l4f-datagen pretrain lesions.zip --out run --symmetry square --kimg 30
  l4f-datagen pretrain photos/ --out run --start stylegan2-ada-ffhq256.pkl --resolution 256
  torchrun --nproc-per-node 4 -m l4f_datagen pretrain photos/ --out run --batch 64
"""


TRAINING = added([
    option("--out --outdir", FILE, "Folder of the run.", required=True),
    option("--resolution", click.IntRange(32, 1024),
           "Side of the square images, a power of two.", 64),
    option("--symmetry", "none|mirror|square",
           "Show each photograph mirrored too, or in all eight turns and flips where it has no "
           "upright (seen from above, or under a microscope).", "mirror"),
    option("--start", str,
           "Generator to start from: a shipped domain, a checkpoint of any format, none, or auto: "
           "toy-cars at 64 and 128 px.", "auto"),
    option("--kimg", click.FloatRange(0, min_open=True),
           "Thousand images to show at most; a finished run goes on with a larger number.", 60),
    option("--decay-kimg", click.FloatRange(0),
           "Thousand images at the end in which the learning rate falls to zero.", 15),
    option("--patience", click.IntRange(0),
           "Snapshots without a smaller distance after which the end begins; 0: never.", 6),
    option("--batch", click.IntRange(4), None, 16),
    option("--accumulate", NATURAL,
           "Parts of a batch that are computed one after the other, where memory is short.", 1),
    option("--precision", "auto|fp32|bf16|fp16",
           "Of the forward passes; auto: bf16 where the device computes in it, else fp32.", "auto"),
    option("--augment/--no-augment", bool,
           "Adaptive discriminator augmentation, for small sets.", True),
    option("--seed", click.IntRange(0, 2**31 - 1), None, 0),
    OFFLINE,
    DEVICE,
])  # fmt: skip


@click.command(epilog=EXAMPLES)
@click.argument("photos")
@TRAINING
def pretrain(
    photos: str,
    out: Path,
    resolution: int,
    start: str,
    precision: str,
    augment: bool,
    offline: bool,
    device: str,
    **settings: Any,
) -> None:
    r"""Train a StyleGAN2 generator from PHOTOS; the same command resumes.

    PHOTOS is a folder, a zip file, an LMDB, the name of a Hugging Face dataset, or a toy domain.
    OUT gets generator.safetensors, ready for `make --generator`, its discriminator, a sheet of
    samples and muted backgrounds at every snapshot, progress.jsonl, and nearest.png, which shows
    samples beside their nearest photographs.

    \b
    l4f-datagen pretrain photos.zip --out generator
    l4f-datagen pretrain photos --out generator --symmetry square
    """
    from functools import partial

    from l4f_datagen.io.stores import listing_sha256
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pretraining.plan import PretrainPlan
    from l4f_datagen.pretraining.run import gather_images
    from l4f_datagen.pretraining.run import pretrain as run
    from l4f_datagen.toys.scene import TOYS
    from l4f_datagen.training.ranks import join_ranks, leave_ranks, own_device

    chosen = choose_device(own_device(device))
    origin = _open_start(start, resolution)
    plan = PretrainPlan(
        images=photos if photos in TOYS else listing_sha256(photos) or photos,
        resolution=resolution,
        start=origin.name if origin else None,
        precision=_precision(precision, chosen.type),
        ada_kimg=PretrainPlan.ada_kimg if augment else None,
        **settings,
    )
    gather = partial(gather_images, photos, resolution, offline=offline)
    ranks = join_ranks(chosen)
    result = run(plan, gather, out, start=origin, device=chosen, ranks=ranks)
    leave_ranks()
    if ranks.leads:
        click.echo(str(result))
        click.echo(f"next: l4f-datagen make --generator {result} --n 200 --out labels", err=True)


def _open_start(name: str, resolution: int) -> "Start | None":
    """Open what ``--start`` names: a shipped domain or a file; None for none."""
    from l4f_datagen.checkpoints.open import discriminator_beside
    from l4f_datagen.pretraining.state import open_start
    from l4f_datagen.recipe.domains import BUILTIN, weights_path

    if name == "auto":
        name = AUTO_START.get(resolution, "none")
    if name == "none":
        return None
    if name in BUILTIN:
        path = weights_path(f"builtin:{name}", "generator")
    elif Path(name).exists():
        path = Path(name)
    else:
        known = ", ".join(["auto", "none", *BUILTIN])
        raise UsageError("--start", f"{name} is not there", f"name a checkpoint, or {known}")
    return open_start(path, discriminator_beside(path))


def _precision(asked: str, device: str) -> "Precision":
    """Return the precision; auto takes bf16 where the device computes in it."""
    import torch

    if asked != "auto":
        return asked  # type: ignore[return-value]  # click has checked it
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Without these instructions bf16 is computed in float32 and rounded, which is slower.
    native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
