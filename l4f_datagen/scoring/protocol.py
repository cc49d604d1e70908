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
from l4f_datagen.scoring.bootstrap import score_intervals
from l4f_datagen.scoring.image_score import ImageScore, Mask, score_image
from l4f_datagen.scoring.match import FolderPrediction, Match, Pair, match_truth
from l4f_datagen.scoring.metrics import AveragePrecision, collapse_warnings, pool
from l4f_datagen.scoring.pairing import Rule, looks_shifted
from l4f_datagen.scoring.score_report import ScoreReport

THUMBNAIL = 32
MAX_THUMBNAILS = 4096  # 1 KiB a pair: enough to see a shift, and memory stays flat


Watch = Callable[[Pair], None]


def score_pairs(
    pairs: Iterable[Pair],
    *,
    source: str = "truth",
    pairing: str = "as given",
    paper_compat: bool = False,
    resize: Literal["nearest"] | None = None,
    seed: int = 0,
    with_ap: bool = False,
    watch: Watch | None = None,
    notes: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> ScoreReport:
    """Score pairs as they come; only counts and thumbnails are kept.

    Args:
        pairs: truth and prediction of each image.
        source: the truth as the user named it, for errors.
        pairing: how they were paired, in words.
        paper_compat: compute ratios as the authors did (the masks must be cut at exactly 255).
        resize: what to do with a prediction of another size: refuse (None) or ``nearest``.
        seed: of the bootstrap.
        with_ap: also compute COCO average precision (keeps run lengths of every pair); a
            prediction's confidence is its own score, or the mean alpha inside its mask.
        watch: called with every pair that is scored, its sizes made equal.
        notes: further notes for the report.
        settings: what the score depends on, for the report.

    Raises:
        AnnotationRefused: no pair, sizes that differ, an image that is ignored everywhere, or a
            truth without a single object pixel.
    """
    images: list[ImageScore] = []
    thumbs: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    resized = ignored = 0
    precision = AveragePrecision() if with_ap else None
    for name, truth, mask, alpha, confidence in pairs:
        if mask.shape != truth.mask.shape:
            mask, alpha = fitted(name, truth.mask.shape, mask, alpha, resize)
            resized += 1
        if truth.ignore is not None:
            if truth.ignore.all():
                raise AnnotationRefused(
                    f"{source} {name}", "every pixel is marked ignore", "remove the image"
                )
            ignored += int(truth.ignore.sum())
        if watch is not None:
            watch(Pair(name, truth, mask, alpha, confidence))
        images.append(
            score_image(
                name, truth.mask, mask, ignore=truth.ignore, alpha=alpha, truth_alpha=truth.alpha
            )
        )
        if precision is not None:
            if confidence is None and alpha is not None:
                confidence = float(alpha[mask].mean()) if mask.any() else 0.0
            if confidence is None:
                raise AnnotationRefused(
                    f"prediction of {name}",
                    "a hard mask without confidence: average precision would follow file names",
                    "score soft alphas or a COCO results file, or leave out --ap",
                )
            precision.update(truth.mask, mask, truth.ignore, confidence)
        if len(thumbs) < MAX_THUMBNAILS:
            thumbs.append((_thumbnail(truth.mask), _thumbnail(mask)))
    if not images:
        raise AnnotationRefused(source, "holds no image", "name a set that has some")
    scores = pool(images, paper_compat=paper_compat)
    if scores.truth_coverage == 0:
        raise AnnotationRefused(
            source,
            f"not one object pixel in {len(images)} images",
            "check --category and --mask-value",
        )
    warnings = collapse_warnings(scores)
    shifted = looks_shifted(
        [image.name for image in images[: len(thumbs)]],
        np.stack([truth for truth, _ in thumbs]),
        np.stack([mask for _, mask in thumbs]),
    )
    warnings.extend([shifted] if shifted else [])
    said = list(notes)
    if resized:
        said.append(f"{resized} predictions resized to their truth (nearest)")
    if ignored:
        said.append(f"{ignored} pixels ignored")
    return ScoreReport(
        scores=scores,
        intervals=score_intervals(images, np.random.RandomState(seed)),
        images=images,
        pairing=pairing,
        warnings=warnings,
        notes=said,
        settings={"paper_compat": paper_compat, "bootstrap_seed": seed, **(settings or {})},
        average_precision=precision.compute() if precision is not None else None,
    )


def fitted(
    name: str,
    size_hw: tuple[int, ...],
    mask: Mask,
    alpha: NDArray[np.float32] | None,
    resize: str | None,
) -> tuple[Mask, NDArray[np.float32] | None]:
    """Fit a prediction to its truth's size: nearest pixel, or nothing at all.

    Raises:
        AnnotationRefused: ``resize`` is not ``nearest``.
    """
    if resize != "nearest":
        raise AnnotationRefused(
            f"prediction of {name}",
            f"{mask.shape[1]} x {mask.shape[0]} pixels, its truth {size_hw[1]} x {size_hw[0]}",
            "score masks of one size or give --resize nearest",
        )
    rows = (np.arange(size_hw[0]) * 2 + 1) * mask.shape[0] // (2 * size_hw[0])
    columns = (np.arange(size_hw[1]) * 2 + 1) * mask.shape[1] // (2 * size_hw[1])
    index = np.ix_(rows, columns)
    return mask[index], None if alpha is None else alpha[index]


def _thumbnail(mask: Mask) -> NDArray[np.bool_]:
    rows = (np.arange(THUMBNAIL) * 2 + 1) * mask.shape[0] // (2 * THUMBNAIL)
    columns = (np.arange(THUMBNAIL) * 2 + 1) * mask.shape[1] // (2 * THUMBNAIL)
    return mask[np.ix_(rows, columns)]


def score_match(
    matched: Match,
    *,
    paper_compat: bool = False,
    resize: Literal["nearest"] | None = None,
    seed: int = 0,
    with_ap: bool = False,
    watch: Watch | None = None,
    settings: dict[str, Any] | None = None,
) -> ScoreReport:
    """Score what is paired; arguments and errors as in `score_pairs`."""
    truth, prediction, pairing = matched.truth, matched.prediction, matched.pairing
    report = score_pairs(
        matched,
        source=truth.source,
        pairing=str(pairing),
        paper_compat=paper_compat,
        resize=resize,
        seed=seed,
        with_ap=with_ap,
        watch=watch,
        settings={
            "truth": truth.source,
            "truth_format": truth.format,
            "prediction": prediction.source,
            "prediction_format": prediction.format,
            "pair_by": pairing.rule,
            "offset": pairing.offset,
            "resize": resize,
            **(settings or {}),
        },
    )
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

    Args:
        truth: annotated set of any known format, or one that `load_annotations` opened.
        pred: folder of masks, COCO file, COCO results, or a dataset that ``make`` wrote.
        category: foreground class of the truth.
        mask_value: foreground pixels of truth masks, see `load_annotations`.
        pred_category: foreground class of the prediction.
        pred_mask_value: foreground pixels of predicted masks; of COCO results the lowest score.
        pair_by: ``auto``, ``key``, ``stem`` or ``number``.
        offset: truth number minus prediction number.
        allow_unused: predictions without truth are fine; None: where pairs are found by key.
        resize: ``nearest`` to score predictions of another size.
        paper_compat: white only if exactly 255, and the authors' ratios.
        seed: of the bootstrap.
        with_ap: also compute COCO average precision.
        **truth_options: further arguments of `load_annotations`.

    Returns:
        The report: ``report.scores.miou``, ``report.intervals``, ``report.to_text()``.

    Raises:
        AnnotationRefused: a file, a pairing or a size that does not fit.
    """
    if not isinstance(truth, TruthSet):
        truth = load_annotations(
            truth,
            category=category,
            mask_value=mask_value,
            exact_white=paper_compat,
            **truth_options,
        )
    prediction = FolderPrediction(
        pred,
        category=pred_category,
        mask_value=pred_mask_value,
        exact_white=paper_compat,
        ids=truth.ids,
    )
    matched = match_truth(
        truth, prediction, pair_by=pair_by, offset=offset, allow_unused=allow_unused
    )
    return score_match(
        matched,
        paper_compat=paper_compat,
        resize=resize,
        seed=seed,
        with_ap=with_ap,
        settings={"category": category, "mask_value": mask_value},
    )
