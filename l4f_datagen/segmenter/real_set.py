"""Score a segmenter on real photographs with hand-made truth, in the columns of ``validate``."""

from collections.abc import Iterator
from typing import Any

from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.scoring import Pair, ScoreReport, score_pairs
from l4f_datagen.scoring.pairing import Rule, pair_names
from l4f_datagen.segmenter.model import Segmenter
from l4f_datagen.segmenter.photos import Photos


def score_photos(
    segmenter: Segmenter,
    photos: Photos,
    truth: TruthSet,
    *,
    threshold: float | None = None,
    pair_by: Rule = "auto",
    offset: int | None = None,
    allow_unused: bool | None = None,
    **options: Any,
) -> ScoreReport:
    """Segment the photographs that have truth, one at a time, and score the masks.

    Args:
        segmenter: trained.
        photos: of any size each.
        truth: annotated set of any known format.
        threshold: mask where ``alpha > threshold``; None takes the segmenter's.
        pair_by: ``auto``, ``key``, ``stem`` or ``number``.
        offset: truth number minus photograph number.
        allow_unused: photographs without truth are fine, see ``pair_names``.
        **options: further ones of ``score_pairs``, such as ``paper_compat``.

    Raises:
        InputRefused: a photograph, an annotation or a pairing that is not what it must be.
    """
    pairing = pair_names(
        [item.name for item in truth],
        list(photos.names),
        left_out=truth.left_out,
        rule=pair_by,
        offset=offset,
        allow_unused=allow_unused,
    )
    cut = segmenter.threshold if threshold is None else threshold

    def pairs() -> Iterator[Pair]:
        for truth_place, place in pairing.pairs:
            item, photo = truth[truth_place], photos.load(photos.names[place])
            height, width = photo.image.shape[:2]
            decoded = item.load((height, width))
            if photo.is_turned and decoded.mask.shape == (width, height) != (height, width):
                raise AnnotationRefused(
                    f"truth of {item.name}",
                    "drawn on the photograph as stored, which its EXIF data turns",
                    "store the photograph upright and annotate that",
                )
            alpha = segmenter.alpha(photo.image)
            yield Pair(item.name, decoded, alpha_to_mask(alpha, cut), alpha)

    report = score_pairs(
        pairs(),
        source=truth.source,
        pairing=str(pairing),
        settings={
            "truth": truth.source,
            "truth_format": truth.format,
            "images": photos.bundle.source,
            "segmenter_size": segmenter.size,
            "threshold": cut,
            "pair_by": pairing.rule,
            "offset": pairing.offset,
        },
        **options,
    )
    report.add_truth(truth)
    return report
