"""The protocol: pair truth with predictions, score them one by one, say what looks wrong.

`score` is the whole of it for files. `match_truth` and `score_match` take any `Prediction`, so that
the annotated keys can be rendered again without files; `score_pairs` takes masks as they come.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations import TruthSet, load_annotations
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask
from l4f_datagen.scoring.bootstrap import count_intervals
from l4f_datagen.scoring.image_score import ImageScore, score_image, stacked
from l4f_datagen.scoring.match import FolderPrediction, Match, Pair, match_truth
from l4f_datagen.scoring.metrics import AveragePrecision, collapse_warnings, pool
from l4f_datagen.scoring.pairing import Rule, looks_shifted
from l4f_datagen.scoring.score_report import ScoreReport

THUMBNAIL_HW = (32, 32)  # a choice: 1 KiB a pair
MAX_THUMBNAILS = 4096  # 1 KiB a pair: enough to see a shift, and memory stays flat


def score_pairs(
    pairs: Iterable[Pair],
    *,
    source: str = "truth",  # the truth as the user named it, for errors
    pairing: str = "as given",  # how they were paired, in words
    paper_compat: bool = False,  # the authors' ratios; the masks must be cut at exactly 255
    resize: Literal["nearest"] | None = None,  # None: a prediction of another size is refused
    seed: int = 0,  # of the bootstrap
    with_ap: bool = False,
    watch: Callable[[Pair], None] | None = None,  # called with every pair, its sizes made equal
    settings: dict[str, Any] | None = None,  # what the score depends on, for the report
) -> ScoreReport:
    """Score pairs as they come; only counts and thumbnails are kept.

    ``with_ap`` also computes COCO average precision, which keeps run lengths of every pair; a
    prediction's confidence is its own score, or the mean alpha inside its mask.
    """
    images: list[ImageScore] = []
    thumbs: list[tuple[Mask, ...]] = []
    resized = ignored = 0
    precision = AveragePrecision() if with_ap else None
    for name, truth, mask, alpha, confidence in pairs:
        size_hw = truth.mask.shape
        if mask.shape != size_hw:
            if resize is None:
                sizes = "{1} x {0} pixels, its truth {3} x {2}".format(*mask.shape, *size_hw)
                remedy = "score masks of one size or give --resize nearest"
                raise AnnotationRefused(f"prediction of {name}", sizes, remedy)
            mask, resized = nearest(mask, size_hw), resized + 1
            alpha = None if alpha is None else nearest(alpha, size_hw)
        if truth.ignore is not None:
            if truth.ignore.all():
                problem = "every pixel is marked ignore"
                raise AnnotationRefused(f"{source} {name}", problem, "remove the image")
            ignored += int(truth.ignore.sum())
        if watch is not None:
            watch(Pair(name, truth, mask, alpha, confidence))
        soft = {"alpha": alpha, "truth_alpha": truth.alpha}
        images.append(score_image(name, truth.mask, mask, ignore=truth.ignore, **soft))
        if precision is not None:
            if confidence is None and alpha is not None:
                confidence = float(alpha[mask].mean()) if mask.any() else 0.0
            if confidence is None:
                problem = "a hard mask without confidence: its rank would follow its file name"
                remedy = "score soft alphas or a COCO results file, or leave out --ap"
                raise AnnotationRefused(f"prediction of {name}", problem, remedy)
            precision.update(truth.mask, mask, truth.ignore, confidence)
        if len(thumbs) < MAX_THUMBNAILS:
            thumbs.append((nearest(truth.mask, THUMBNAIL_HW), nearest(mask, THUMBNAIL_HW)))
    if not images:
        raise AnnotationRefused(source, "holds no image", "name a set that has some")
    scores = pool(images, paper_compat=paper_compat)
    if scores.truth_coverage == 0:
        problem = f"not one object pixel in {len(images)} images"
        raise AnnotationRefused(source, problem, "check --category and --mask-value")
    names = [image.name for image in images[: len(thumbs)]]
    shifted = looks_shifted(names, *(np.stack(side) for side in zip(*thumbs, strict=True)))
    notes = [f"{resized} predictions resized to their truth (nearest)"] if resized else []
    notes += [f"{ignored} pixels ignored"] if ignored else []
    return ScoreReport(
        scores=scores,
        intervals=count_intervals(stacked(images), np.random.RandomState(seed)),
        images=images,
        pairing=pairing,
        warnings=collapse_warnings(scores) + ([shifted] if shifted else []),
        notes=notes,
        settings={"paper_compat": paper_compat, "bootstrap_seed": seed, **(settings or {})},
        average_precision=precision.compute() if precision is not None else None,
    )


def nearest(plane: NDArray[Any], size_hw: tuple[int, ...]) -> NDArray[Any]:
    """Fit a mask or alpha ``h w`` to another size by its nearest pixels."""
    sides = zip(plane.shape, size_hw, strict=True)
    index = np.ix_(*((np.arange(wanted) * 2 + 1) * own // (2 * wanted) for own, wanted in sides))
    return np.asarray(plane[index])


def score_match(
    matched: Match,
    *,
    resize: Literal["nearest"] | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> ScoreReport:
    """Score what is paired; arguments and errors as in `score_pairs`."""
    truth, prediction, pairing = matched.truth, matched.prediction, matched.pairing
    told: dict[str, Any] = {"truth": truth.source, "truth_format": truth.format}
    told |= {"prediction": prediction.source, "prediction_format": prediction.format}
    told |= {"pair_by": pairing.rule, "offset": pairing.offset, "resize": resize}
    options |= {"resize": resize, "settings": told | (settings or {})}
    report = score_pairs(matched, source=truth.source, pairing=str(pairing), **options)
    report.add_truth(truth)
    report.notes.extend(f"prediction: {line}" for line in prediction.notes())
    return report


def score(
    truth: str | Path | TruthSet,
    pred: str | Path,
    *,
    category: str | Sequence[str] | None = None,
    mask_value: str | int | None = None,
    pred_category: str | Sequence[str] | None = None,
    pred_mask_value: str | int | None = None,
    pair_by: Rule = "auto",
    offset: int | None = None,
    allow_unused: bool | None = None,
    resize: Literal["nearest"] | None = None,
    paper_compat: bool = False,
    seed: int = 0,
    with_ap: bool = False,
    **truth_options: Any,
) -> ScoreReport:
    """Score predicted masks on disk against an annotated set, as ``l4f-datagen validate`` does.

    ``truth`` is an annotated set of any known format, or one that `load_annotations` opened;
    ``truth_options`` are further arguments of that. ``pred`` is a folder of masks, a COCO file,
    COCO results, or a dataset that ``make`` wrote. Categories and mask values say what is
    foreground, see `load_annotations`; of COCO results ``pred_mask_value`` is the lowest score.

    ``pair_by`` is ``auto``, ``key``, ``stem`` or ``number``, and ``offset`` truth number minus
    prediction number. ``allow_unused`` accepts predictions without truth (None: where pairs are
    found by key), ``resize="nearest"`` those of another size. With ``paper_compat`` only exactly
    255 is white, and ratios are the authors'. ``seed`` is the bootstrap's; ``with_ap`` also
    computes COCO average precision.

    The report has ``report.scores.miou``, ``report.intervals`` and ``report.to_text()``.
    """
    foreground: dict[str, Any] = {"category": category, "mask_value": mask_value}
    if not isinstance(truth, TruthSet):
        options = foreground | truth_options
        truth = load_annotations(truth, exact_white=paper_compat, **options)
    own: dict[str, Any] = {"category": pred_category, "mask_value": pred_mask_value}
    prediction = FolderPrediction(pred, ids=truth.ids, exact_white=paper_compat, **own)
    named = {"pair_by": pair_by, "offset": offset, "allow_unused": allow_unused}
    matched = match_truth(truth, prediction, **named)
    how = {"paper_compat": paper_compat, "seed": seed, "with_ap": with_ap}
    return score_match(matched, resize=resize, settings=foreground, **how)
