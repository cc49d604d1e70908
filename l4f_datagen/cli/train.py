"""``l4f-datagen train``: train the alpha network of a recipe."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from l4f_datagen.cli.options import (
    FILE,
    NATURAL,
    READING,
    given,
    open_annotated,
    option,
    resolve_recipe,
    source_options,
    truth_options,
)
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.annotations import TruthSet
    from l4f_datagen.training.run import TrainedAlpha

logger = logging.getLogger(__name__)

SOURCES = {
    "--domain": "domain",
    "--recipe": "recipe_file",
    "--generator": "generator",
    "--class": "class_index",
}
"""Options that `make` takes as `train` does, and where their values are."""
NEED_TRUTH = (*READING, "keys", "pair_by", "offset", "few_shot")


@click.command()
@source_options
@option("--out --outdir", FILE, "Folder of the training run.", required=True)
@option("--seed", click.IntRange(0, 2**32 - 1), "Seed of the training.")
@option("--steps", NATURAL, "Number of steps.")
@option("--precision", "fp32|bf16|fp16", "Precision of the forward passes; default: the recipe's.")
@option("--reals", str, "generator, a toy domain, a folder of images, an LMDB or HF dataset.")
@option("--keep-states", bool, "Keep the state of every snapshot.")
@option("--resume-at", NATURAL, "Go back to the snapshot of this step.")
@truth_options(required=False)
@option("--few-shot", bool, "Also fine-tune on --truth; the result is no longer unsupervised.")
@option("--dry-run", bool, "Print the resolved recipe and stop.")
def train(
    out: Path,
    seed: int | None,
    steps: int | None,
    precision: str | None,
    reals: str | None,
    keep_states: bool,
    resume_at: int | None,
    truth: Path | None,
    few_shot: bool,
    dry_run: bool,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    r"""Train an alpha network without labels; the same command resumes.

    \b
    Examples:
      l4f-datagen train --domain toy-cars --out alpha
      l4f-datagen train --generator my.pkl --reals photos/ --out alpha

    Writes alpha.safetensors, snapshots, preview sheets, curves.png and log.jsonl to OUT, and ends
    with a verdict on the network. A second process with the same OUT waits for it. Several
    processes share the batch: torchrun --nproc-per-node 2 -m l4f_datagen train ... With --truth the
    snapshots are scored on annotated images of `sample`, and the best one is also written to
    alpha-chosen.safetensors. With --few-shot it is fine-tuned on them and written to
    alpha-few-shot.safetensors.
    """
    judged = {name: source.pop(name) for name in ("keys", "pair_by", "offset")}
    annotated = _truth(truth, source)
    if reals == "":  # as a path, the folder one happens to be in
        raise UsageError("--reals", "is empty", "name photographs of the domain")
    from l4f_datagen.io.stores import STORES, store_kind
    from l4f_datagen.training.sources import REALS

    training = {"seed": seed, "steps": steps, "precision": precision}
    flags = given({f"alpha.training.{key}": value for key, value in training.items()})
    if reals in REALS and reals not in STORES:
        flags |= {"alpha.training.reals": reals, "alpha.training.reals_folder": None}
    elif reals is not None:
        kind = store_kind(reals)
        flags |= {"alpha.training.reals": kind, "alpha.training.reals_folder": reals}
    recipe = resolve_recipe(**source, flags=flags | {"alpha.weights": None}, uses_alpha=False)
    if dry_run:
        click.echo(recipe.dump(), nl=False)
        return
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pipeline.networks import obtain_generator
    from l4f_datagen.training.ranks import join_ranks, leave_ranks, own_device
    from l4f_datagen.training.run import train_alpha

    chosen = choose_device(own_device(device))
    ranks = join_ranks(chosen)
    if not ranks.leads:
        ranks.wait()  # the first fetches what is not here yet
    try:
        checkpoint, generator = obtain_generator(recipe.generator, chosen, offline=offline)
    finally:  # what it refuses, the others refuse too, each for itself
        if ranks.leads:
            ranks.wait()
    trained = train_alpha(
        recipe,
        checkpoint,
        out,
        generator=generator,
        keep_states=keep_states,
        resume_at=resume_at,
        offline=offline,
    )
    leave_ranks()
    if not ranks.leads:
        return
    result = trained.path
    if annotated is not None:
        from l4f_datagen.annotate.with_truth import choose_with_truth

        result = choose_with_truth(
            out, recipe, checkpoint, generator, annotated, fine_tune=few_shot, **judged
        )
    _say_what_is_next(trained, result, out, source)
    click.echo(str(result))


def _say_what_is_next(
    trained: "TrainedAlpha", result: Path, out: Path, source: dict[str, Any]
) -> None:
    """Log the preview to look at and the command that uses the network."""
    from l4f_datagen.training.history import preview_file

    preview = preview_file(out, _kept_step(result))
    if preview is not None:
        logger.info("look at: %s", preview)
    if trained.verdict and trained.verdict.grade == "unusable" and result == trained.path:
        logger.info("next: train again, in another --out; `make` refuses this network")
        return
    words = ["l4f-datagen", "make"]
    for flag, name in SOURCES.items():
        if source[name] is not None:
            words += [flag, str(source[name])]
    for assignment in source["assignments"]:
        words += ["--set", assignment]
    words += ["--alpha", str(result), "--n", "200", "--out", "dataset"]
    logger.info("next: %s", shlex.join(words))


def _kept_step(result: Path) -> int | None:
    from l4f_datagen.checkpoints.open import open_alpha

    native = open_alpha(result).native
    step = native.training.get("kept_step") if native else None
    return step if type(step) is int else None


def _truth(truth: Path | None, options: dict[str, Any]) -> "TruthSet | None":
    """Open the annotated set before a long training begins, and take its options out.

    Raises:
        UsageError: an option of the annotated set, and no set.
        AnnotationRefused: it cannot be used.
    """
    if truth is None:
        context = click.get_current_context()
        for option in context.command.params:
            if option.name in NEED_TRUTH and _is_given(context, option.name):
                problem = "needs annotated images"
                raise UsageError(option.opts[0], problem, "give --truth EXPORT")
        for name in READING:
            options.pop(name)
        return None
    return open_annotated(truth, options)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT
