"""With truth: what a few annotated pictures do for a finished training run."""

import logging
from dataclasses import replace
from pathlib import Path

from l4f_datagen.annotate.annotated import Annotated
from l4f_datagen.annotate.evidence import (
    DEFAULT_PICK,
    choose_snapshot,
    keep_choice,
    save_supervised,
)
from l4f_datagen.annotate.few_shot import STEPS, few_shot
from l4f_datagen.annotate.key_file import keys_in_names, read_key_file
from l4f_datagen.annotate.rerender import Rerendered, check_drawn_alike
from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.checkpoints.open import GeneratorCheckpoint, open_alpha
from l4f_datagen.models.generator import Generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.render import renderer_of
from l4f_datagen.scoring.match import match_truth
from l4f_datagen.scoring.pairing import Rule
from l4f_datagen.scoring.protocol import score_match

logger = logging.getLogger(__name__)

FEW_SHOT = "alpha-few-shot.safetensors"


def choose_with_truth(
    run: Path,
    recipe: Recipe,
    checkpoint: GeneratorCheckpoint,
    generator: Generator,
    truth: TruthSet,
    *,
    keys: Path | None,
    fine_tune: bool = False,
    pair_by: Rule = "auto",
    offset: int | None = None,
) -> Path:
    """Choose the best snapshot of a run on annotated pictures, and fine-tune it where asked to.

    Args:
        run: folder of a finished training.
        recipe: that it was trained by; its noise mode, crop and threshold hold here too.
        checkpoint: of the generator.
        generator: on its device.
        truth: the annotated set.
        keys: key file of the pictures or its folder; None takes psi and seed from their names.
        fine_tune: also fit the chosen network to the pictures.
        pair_by: see `match_truth`.
        offset: see `match_truth`.

    Returns:
        ``alpha-chosen.safetensors``, or ``alpha-few-shot.safetensors`` where fine-tuned.

    Raises:
        AnnotationRefused: truth or keys that cannot be used.
    """
    names = [item.name for item in truth]
    key_file = keys_in_names(names, truth.source) if keys is None else read_key_file(keys)
    check_drawn_alike(key_file, recipe, checkpoint)
    default = open_alpha(run / DEFAULT_PICK).build().to(generator.w_avg.device)
    renderer = replace(renderer_of(recipe, generator, default), background=None, probes={})
    rendered = Rerendered(renderer, key_file, DEFAULT_PICK)
    matched = match_truth(truth, rendered, pair_by=pair_by, offset=offset)
    logger.info(score_match(matched).to_text(f"{DEFAULT_PICK} against {truth.source}"))
    annotated, threshold = Annotated(matched), recipe.output.mask_threshold
    evidence = choose_snapshot(run, annotated, threshold)
    logger.info(evidence.to_text())
    chosen = keep_choice(run, evidence)
    if not fine_tune:
        return chosen
    opened = open_alpha(chosen)
    start = opened.build().to(generator.w_avg.device)
    tuned = few_shot(start, annotated, threshold=threshold, steps=STEPS)
    logger.info(tuned.to_text())
    supervision = (
        f"few-shot: fine-tuned on {evidence.num_images} annotated images ({evidence.truth}); "
        "no longer unsupervised"
    )
    path = run / FEW_SHOT
    facts = {"few_shot": {"steps": STEPS, **tuned.to_dict()}}
    count = evidence.num_images
    save_supervised(path, opened, tuned.network, supervision, count, facts, fitted=True)
    return path
