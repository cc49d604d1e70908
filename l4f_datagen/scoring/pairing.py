"""Pairing: which predicted mask belongs to which annotated image, by their names.

Three rules, tried in this order until one gives every truth its own prediction:

- ``key``: both names hold a sample key such as ``psi0700-seed0000123``;
- ``stem``: the stems agree, as they are or once words such as ``mask_``, ``_gt`` or ``_pred`` and
  the hashes of annotation tools are dropped; case, Unicode form and URL escapes do not matter;
- ``number``: the last integers agree, or differ by one offset for the whole set (the paper's sets
  count images from 0 and masks from 1, and name truth ``Face3`` what is ``3`` in the prediction).
  It is tried only where the names of each side differ by nothing but that number.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from l4f_datagen.annotations.records import bare_stem, plain_stem, sample_key_in
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask
from l4f_datagen.scoring.image_score import mean_iou

Rule = Literal["auto", "key", "stem", "number"]
Identify = Callable[[str], str | int | None]
Places = dict[str | int, int]  # what a name means -> position

TRAILING = re.compile(r"(\d+)(?=\D*$)")
SHIFT_GAIN = 0.1  # mIoU a shifted pairing must gain before it is worth a warning
PLAUSIBLE_MIOU = 0.5  # and must reach: below it both orders are noise


def _number(name: str) -> int | None:
    found = TRAILING.search(bare_stem(name))
    return int(found.group(1)[-18:]) if found else None


IDENTIFIERS: dict[str, tuple[Identify, ...]] = {
    "key": (sample_key_in,),
    "stem": (plain_stem, bare_stem),
    "number": (_number,),
}


@dataclass(frozen=True)
class Pairing:
    """Which prediction goes with which truth."""

    pairs: tuple[tuple[int, int], ...]  # (position in the truth, position in the prediction)
    rule: str  # ``key``, ``stem`` or ``number``
    offset: int  # truth number minus prediction number, 0 but for ``number``
    words: str  # the rule, one pair of names, and what was left over

    def __str__(self) -> str:
        return self.words


def pair_names(
    truth: Sequence[str],
    predicted: Sequence[str],
    *,
    left_out: Sequence[str] = (),  # images without annotation: their predictions may be left over
    pair_by: Rule = "auto",
    offset: int | None = None,  # truth number minus prediction number: means rule ``number``
    allow_unused: bool | None = None,
) -> Pairing:
    """Pair names of annotated images with those of predicted masks; each truth must find one.

    Predictions without truth are refused unless ``allow_unused``; None allows them where names are
    paired by key, where the truth is a few annotated samples of many.
    """
    for which, names in (("truth", truth), ("prediction", predicted)):
        if not names:
            raise AnnotationRefused(which, "holds no image", "name a folder or file that has some")
    if pair_by not in ("auto", *IDENTIFIERS):
        raise ValueError(f"expected pair_by auto, {', '.join(IDENTIFIERS)}, got {pair_by!r}")
    rules = ["number"] if offset is not None else [pair_by]
    if rules == ["auto"]:
        # By number only where the names of each side are alike but for their last number.
        sides = (
            {TRAILING.sub("#", bare_stem(name)) for name in side} for side in (truth, predicted)
        )
        numbered = all(len(side) == 1 and "#" in side.pop() for side in sides)
        rules = ["key", "stem", *(["number"] if numbered else [])]

    def paired(rule: str, identify: Identify) -> Pairing:
        truth_ids = _identified(truth, identify, rule, "truth")
        predicted_ids = _identified(predicted, identify, rule, "prediction")
        others = {identify(name) for name in left_out} - {None} - truth_ids.keys()
        shift = 0
        if rule == "number":
            shift = _offset(truth_ids, predicted_ids, others) if offset is None else offset
            predicted_ids = {int(number) + shift: place for number, place in predicted_ids.items()}
        missing = [truth[place] for name, place in truth_ids.items() if name not in predicted_ids]
        if missing:
            how = f"{rule} with offset {shift:+d}" if shift else rule
            problem = f"no prediction when pairing by {how}"
            remedy = "name the files alike or give --offset"
            raise AnnotationRefused(f"truth {_listed(missing)}", problem, remedy)
        surplus = {name: place for name, place in predicted_ids.items() if name not in truth_ids}
        unused = [predicted[place] for name, place in surplus.items() if name not in others]
        if unused and not (rule == "key" if allow_unused is None else allow_unused):
            remedy = "remove the extra files or give --allow-unused"
            problem = f"no truth when pairing by {rule}"
            raise AnnotationRefused(f"prediction {_listed(unused)}", problem, remedy)
        pairs = tuple((place, predicted_ids[name]) for name, place in truth_ids.items())
        words = f"{len(pairs)} pairs by {rule}"
        words += f", truth number = prediction number {shift:+d}" if shift else ""
        words += f" ({truth[pairs[0][0]]} with {predicted[pairs[0][1]]})"
        if unused:
            words += f"; {len(unused)} predictions without truth: {_listed(unused)}"
        if len(surplus) > len(unused):
            rest = len(surplus) - len(unused)
            words += f"; {rest} predictions of images without annotation left out"
        return Pairing(pairs, rule, shift, words)

    problems = []
    for rule in rules:
        for identify in IDENTIFIERS[rule]:
            try:
                return paired(rule, identify)
            except AnnotationRefused as error:
                problems.append(error)
    raise problems[-1]


def _identified(names: Sequence[str], identify: Identify, rule: str, side: str) -> Places:
    places: Places = {}
    for place, name in enumerate(names):
        identity = identify(name)
        if identity is None:
            problem = f"its name holds no {rule}"
            raise AnnotationRefused(f"{side} {name}", problem, "name it like its image")
        if identity in places:
            both = f"{side} {names[places[identity]]} and {name}"
            remedy = "pairing would be ambiguous: rename or remove one"
            raise AnnotationRefused(both, f"both mean {rule} {identity}", remedy)
        places[identity] = place
    return places


def _offset(truth: Places, predicted: Places, others: set[str | int | None]) -> int:
    """Find the one shift that gives every truth number a prediction; 0 where it works."""
    if truth.keys() <= predicted.keys():
        return 0
    listed = {int(number) for number in (*truth, *others) if number is not None}
    for wanted in ({int(number) for number in truth}, listed):
        shift = min(wanted) - min(map(int, predicted))
        if {int(number) + shift for number in predicted} == wanted:
            return shift
    return 0  # the missing names are then reported as they are


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def natural_order(names: Sequence[str]) -> list[int]:
    """Positions sorted as people count: 2 before 10."""

    def parts(place: int) -> list[str | int]:
        pieces = enumerate(re.split(r"(\d+)", names[place]))  # text and number in turn
        return [int(piece[-18:]) if at % 2 else piece.lower() for at, piece in pieces]

    return sorted(range(len(names)), key=parts)


def looks_shifted(names: Sequence[str], truth: Mask, predicted: Mask) -> str | None:
    """Warn where another order (or a flip) of the predictions scores far better than the pairing.

    Names and thumbnails, bool ``pairs side side``, are in one order. Fewer than three pairs are
    never judged.
    """
    if len(names) < 3:
        return None
    order = natural_order(names)
    truth, predicted = truth[order], predicted[order]
    now = _mean_iou(truth, predicted)
    ranks = sorted(range(len(order)), key=lambda place: str(place + 1))  # 1, 10, 2, ...
    candidates = {
        "shifted by one": ((truth[:-1], predicted[1:]), (truth[1:], predicted[:-1])),
        "sorted as text (10 before 2) on one side": (
            (truth, predicted[ranks]),
            (truth[ranks], predicted),
        ),
        "turned upside down": ((truth, predicted[:, ::-1]),),
        "mirrored": ((truth, predicted[:, :, ::-1]),),
    }
    scores = {name: max(_mean_iou(*pair) for pair in pairs) for name, pairs in candidates.items()}
    best, score = max(scores.items(), key=lambda candidate: candidate[1])
    if score < max(now + SHIFT_GAIN, PLAUSIBLE_MIOU):
        return None
    return (
        f"the pairing looks wrong: {best}, the same masks would score mIoU {score:.2f} instead of "
        f"{now:.2f} (on thumbnails); check the names or give --offset"
    )


def _mean_iou(truth: Mask, predicted: Mask) -> float:
    masks = (truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted)
    return mean_iou(np.stack([mask.sum(axis=(1, 2)) for mask in masks], axis=-1))
