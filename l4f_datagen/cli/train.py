"""``train`` and ``pretrain``: the alpha network of a recipe, and a generator from photographs."""

import logging
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from l4f_datagen.cli import options as shared
from l4f_datagen.cli.options import FILE, NATURAL, added, option
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.pretraining.state import Start
    from l4f_datagen.training.run import TrainedAlpha

logger = logging.getLogger(__name__)


@click.command()
@shared.SOURCE
@option("--out --outdir", FILE, "Folder of the training run.", required=True)
@option("--seed", click.IntRange(0, 2**32 - 1), "Seed of the training.")
@option("--steps", NATURAL, "Number of steps.")
@option("--precision", "fp32|bf16|fp16", "Precision of the forward passes; default: the recipe's.")
@option("--reals", str, "generator, a toy domain, a folder of images, an LMDB or HF dataset.")
@option("--keep-states", bool, "Keep the state of every snapshot.")
@option("--resume-at", NATURAL, "Go back to the snapshot of this step.")
@shared.truth_options(required=False)
@option("--few-shot", bool, "Also fine-tune on --truth; the result is no longer unsupervised.")
@option("--dry-run", bool, "Print the resolved recipe and stop.")
def train(out: Path, truth: Path | None, dry_run: bool, device: str, **options: Any) -> None:
    """Train an alpha network without labels; the same command resumes.

    Writes alpha.safetensors, snapshots, preview sheets, curves.png and log.jsonl to OUT, and ends
    with a verdict on the network. A second process with the same OUT waits for it. Several
    processes share the batch: torchrun --nproc-per-node 2 -m l4f_datagen train ... With --truth the
    snapshots are scored on annotated images of `sample`, and the best one is also written to
    alpha-chosen.safetensors. With --few-shot it is fine-tuned: alpha-few-shot.safetensors.

    l4f-datagen train --domain toy-cars --out alpha
    l4f-datagen train --generator my.pkl --reals photos/ --out alpha
    """
    annotated = _truth(truth, options)
    judged = shared.take(("keys", "pair_by", "offset"), options)
    keys = shared.take(("seed", "steps", "precision"), options)
    source = {name: options[name] for name in shared.names_of(shared.RECIPE)}
    flags = {f"alpha.training.{name}": value for name, value in shared.given(keys).items()}
    flags |= _reals(options.pop("reals"))
    flags["alpha.weights"] = None
    recipe = shared.resolve_recipe(options, uses_alpha=False, **flags)
    judged["fine_tune"] = options.pop("few_shot")
    if dry_run:
        click.echo(recipe.dump(), nl=False)
        return
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pipeline.networks import obtain_generator
    from l4f_datagen.training.hardware import join_ranks, leave_ranks, own_device
    from l4f_datagen.training.run import train_alpha

    chosen = choose_device(own_device(device))
    ranks = join_ranks(chosen)
    if not ranks.leads:
        ranks.wait()  # the first fetches what is not here yet
    try:
        part, offline = recipe.generator, options["offline"]
        checkpoint, generator = obtain_generator(part, chosen, offline=offline)
    finally:  # what it refuses, the others refuse too, each for itself
        if ranks.leads:
            ranks.wait()
    trained = train_alpha(recipe, checkpoint, out, generator=generator, **options)
    leave_ranks()
    if not ranks.leads:
        return
    result = trained.path
    if annotated is not None:
        from l4f_datagen.annotate.with_truth import choose_with_truth

        result = choose_with_truth(out, recipe, checkpoint, generator, annotated, **judged)
    _say_what_is_next(trained, result, out, source)
    click.echo(str(result))


def _truth(truth: Path | None, options: dict[str, Any]) -> "TruthSet | None":
    """Open the annotated set before a long training begins, and take its options out.

    UsageError for an option of the annotated set, and no set.
    """
    if truth is not None:
        return shared.open_annotated(truth, options)
    needing = ["keys", "pair_by", "offset", "few_shot", *shared.names_of(shared.READING)]
    shared.take(needing[4:], options)
    context = click.get_current_context()
    for param in context.command.params:
        is_default = context.get_parameter_source(param.name) is ParameterSource.DEFAULT
        if param.name in needing and not is_default:
            raise UsageError(param.opts[0], "needs annotated images", "give --truth EXPORT")
    return None


def _reals(reals: str | None) -> dict[str, Any]:
    """Return the recipe keys of ``--reals``."""
    if reals is None:
        return {}
    if not reals:  # as a path, the folder one happens to be in
        raise UsageError("--reals", "is empty", "name photographs of the domain")
    from l4f_datagen.io.stores import STORES, store_kind
    from l4f_datagen.training.sources import REALS

    stored = reals in STORES or reals not in REALS
    return {
        "alpha.training.reals": store_kind(reals) if stored else reals,
        "alpha.training.reals_folder": reals if stored else None,
    }


def _say_what_is_next(
    trained: "TrainedAlpha", result: Path, out: Path, source: dict[str, Any]
) -> None:
    """Log the preview to look at and the command that uses the network."""
    from l4f_datagen.checkpoints.open import open_alpha
    from l4f_datagen.training.history import preview_file

    native = open_alpha(result).native
    step = native.training.get("kept_step") if native else None
    preview = preview_file(out, step if type(step) is int else None)
    if preview is not None:
        logger.info("look at: %s", preview)
    if trained.verdict and trained.verdict.grade == "unusable" and result == trained.path:
        logger.info("next: train again, in another --out; `make` refuses this network")
        return
    words = ["l4f-datagen", "make"]
    source |= {"recipe": source["recipe_file"], "class": source["class_index"]}
    for name in ("domain", "recipe", "generator", "class"):
        if source[name] is not None:
            words += [f"--{name}", str(source[name])]
    for assignment in source["assignments"]:
        words += ["--set", assignment]
    words += ["--alpha", str(result), "--n", "200", "--out", "dataset"]
    logger.info("next: %s", shlex.join(words))


AUTO_START = {64: "toy-cars", 128: "toy-cars"}
"""At these sizes a run starts from the shipped toy cars, at 128 px with a resolution more: on skin
lesions this gave recognisable images after 8 kimg."""

PRETRAINING = added(
    option("--out --outdir", FILE, "Folder of the run.", required=True),
    option("--resolution", click.IntRange(32, 1024), "Side of the images, a power of two.", 64),
    option("--symmetry", shared.SYMMETRY, "Show each photograph mirrored too, or in all eight "
           "turns and flips (seen from above, or under a microscope).", "mirror"),
    option("--start", str, "Generator to start from: a shipped domain, a checkpoint of any format, "
           "none, or auto: toy-cars at 64 and 128 px.", "auto"),
    option("--kimg", click.FloatRange(0, min_open=True),
           "Thousand images to show at most; a finished run goes on with a larger number.", 60),
    option("--decay-kimg", click.FloatRange(0), "Last kimg, in which the learning rate falls.", 15),
    option("--patience", click.IntRange(0),
           "Snapshots without a smaller distance after which the end begins; 0: never.", 6),
    option("--batch", click.IntRange(4), None, 16),
    option("--accumulate", NATURAL, "Parts of a batch, one by one to save memory.", 1),
    option("--precision", "auto|fp32|bf16|fp16", "auto: bf16 where the device has it.", "auto"),
    option("--augment/--no-augment", bool, "Adaptive discriminator augmentation.", True),
    option("--seed", click.IntRange(0, 2**31 - 1), None, 0),
    shared.OFFLINE,
    shared.DEVICE,
)  # fmt: skip


@click.command()
@click.argument("photos")
@PRETRAINING
def pretrain(photos: str, out: Path, start: str, device: str, **settings: Any) -> None:
    """Train a StyleGAN2 generator from PHOTOS; the same command resumes.

    PHOTOS is a folder, a zip file, an LMDB, the name of a Hugging Face dataset, or a toy domain.
    OUT gets generator.safetensors, ready for `make --generator`, its discriminator, a sheet of
    samples and muted backgrounds at every snapshot, progress.jsonl, and nearest.png, which shows
    samples beside their nearest photographs.

    l4f-datagen pretrain photos.zip --out generator --symmetry square --kimg 30
    l4f-datagen pretrain photos --out generator --start stylegan2-ada-ffhq256.pkl --resolution 256
    torchrun --nproc-per-node 4 -m l4f_datagen pretrain photos --out generator --batch 64
    """
    from l4f_datagen.io.stores import listing_sha256
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pretraining.plan import PretrainPlan
    from l4f_datagen.pretraining.run import gather_images
    from l4f_datagen.pretraining.run import pretrain as run
    from l4f_datagen.toys.scene import TOYS
    from l4f_datagen.training.hardware import join_ranks, leave_ranks, own_device

    chosen = choose_device(own_device(device))
    resolution, offline = settings["resolution"], settings.pop("offline")
    origin = _open_start(start, resolution)
    if settings["precision"] == "auto":
        settings["precision"] = "bf16" if _computes_in_bf16(chosen.type) else "fp32"
    if not settings.pop("augment"):
        settings["ada_kimg"] = None
    images = photos if photos in TOYS else listing_sha256(photos) or photos
    plan = PretrainPlan(images, start=origin.name if origin else None, **settings)
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
    path = weights_path(f"builtin:{name}", "generator") if name in BUILTIN else Path(name)
    if not path.exists():
        known = ", ".join(["auto", "none", *BUILTIN])
        raise UsageError("--start", f"{name} is not there", f"name a checkpoint, or {known}")
    return open_start(path, discriminator_beside(path))


def _computes_in_bf16(device: str) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Without these instructions bf16 is computed in float32 and rounded, which is slower.
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
