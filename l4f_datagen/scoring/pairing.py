"""Pairing: which predicted mask belongs to which annotated image, by their names.

Three rules, tried in this order until one gives every truth its own prediction:

- ``key``: both names hold a sample key such as ``psi0700-seed0000123``;
- ``stem``: the stems agree, once words such as ``mask_``, ``_gt`` or ``_pred`` are dropped;
- ``number``: the trailing integers agree, or differ by one offset for the whole set (the paper's
  sets count images from 0 and masks from 1, and name truth ``Face3`` what is ``3`` in the
  prediction).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations.truth import sample_key_in
from l4f_datagen.core.errors import AnnotationRefused

Rule = Literal["auto", "key", "stem", "number"]

AFFIXES = re.compile(
    r"^(mask|gt|label|pred|alpha|truth|seg)[_\-. ]|[_\-. ](mask|gt|label|pred|alpha|truth|seg)s?$"
)
TRAILING = re.compile(r"(\d+)\D*$")
SHIFT_GAIN = 0.1  # mIoU a shifted pairing must gain before it is worth a warning
PLAUSIBLE_MIOU = 0.5  # and must reach: below it both orders are noise


@dataclass(frozen=True)
class Pairing:
    """Which prediction goes with which truth.

    Attributes:
        pairs: (position in the truth, position in the prediction).
        rule: ``key``, ``stem`` or ``number``.
        offset: truth number minus prediction number, 0 but for ``number``.
        unused: names of predictions without a truth.
        example: one pair of names, to be printed.
    """

    pairs: tuple[tuple[int, int], ...]
    rule: str
    offset: int
    unused: tuple[str, ...]
    example: str

    def __str__(self) -> str:
        how = f"by {self.rule}"
        if self.offset:
            how += f", truth number = prediction number {self.offset:+d}"
        rest = ""
        if self.unused:
            rest = f"; {len(self.unused)} predictions without truth: {_listed(self.unused)}"
        return f"{len(self.pairs)} pairs {how} ({self.example}){rest}"


def pair_names(
    truth: Sequence[str],
    predicted: Sequence[str],
    *,
    rule: Rule = "auto",
    offset: int | None = None,
    allow_unused: bool | None = None,
) -> Pairing:
    """Pair two lists of names.

    Args:
        truth: names of annotated images, each to be found among the predictions.
        predicted: names of predicted masks.
        rule: one of the rules of this module, or ``auto``.
        offset: truth number minus prediction number; None finds it. Giving one means ``number``.
        allow_unused: predictions without truth are fine. None: fine when paired by key, where the
            truth is a few annotated samples of many, and an error otherwise.

    Raises:
        AnnotationRefused: a name is ambiguous, a prediction is missing, or one is left over.
    """
    if not truth or not predicted:
        which = "truth" if not truth else "prediction"
        raise AnnotationRefused(which, "holds no image", "name a folder or file that has some")
    if offset is not None:
        rule = "number"
    rules = ("key", "stem", "number") if rule == "auto" else (rule,)
    problems: list[AnnotationRefused] = []
    for name in rules:
        try:
            return _pair(truth, predicted, name, offset, allow_unused)
        except AnnotationRefused as error:
            problems.append(error)
    if rule == "auto" and not any(TRAILING.search(_stem(name)) for name in truth):
        raise problems[1]  # no numbers to speak of: what went wrong with the stems is the news
    raise problems[-1]


def _pair(
    truth: Sequence[str],
    predicted: Sequence[str],
    rule: str,
    offset: int | None,
    allow_unused: bool | None,
) -> Pairing:
    identify = IDENTIFIERS[rule]
    truth_ids = _identified(truth, identify, rule, "truth")
    predicted_ids = _identified(predicted, identify, rule, "prediction")
    shift = 0
    if rule == "number":
        shift = _offset(truth_ids, predicted_ids) if offset is None else offset
        predicted_ids = {int(number) + shift: place for number, place in predicted_ids.items()}
    missing = [truth[place] for name, place in truth_ids.items() if name not in predicted_ids]
    if missing:
        raise AnnotationRefused(
            f"truth {_listed(missing)}",
            f"no prediction when pairing by {rule}{f' with offset {shift:+d}' if shift else ''}",
            "name the files alike or give --offset",
        )
    unused = [predicted[place] for name, place in predicted_ids.items() if name not in truth_ids]
    allowed = rule == "key" if allow_unused is None else allow_unused
    if unused and not allowed:
        raise AnnotationRefused(
            f"prediction {_listed(unused)}",
            f"no truth when pairing by {rule}",
            "remove the extra files or allow unused predictions",
        )
    pairs = tuple((place, predicted_ids[name]) for name, place in truth_ids.items())
    first = pairs[0]
    example = f"{truth[first[0]]} with {predicted[first[1]]}"
    return Pairing(pairs, rule, shift, tuple(unused), example)


def _identified(
    names: Sequence[str], identify: Callable[[str], str | int | None], rule: str, side: str
) -> dict[str | int, int]:
    places: dict[str | int, int] = {}
    for place, name in enumerate(names):
        identity = identify(name)
        if identity is None:
            raise AnnotationRefused(
                f"{side} {name}", f"its name holds no {rule}", "name it like its image"
            )
        if identity in places:
            raise AnnotationRefused(
                f"{side} {names[places[identity]]} and {name}",
                f"both mean {rule} {identity}",
                "pairing would be ambiguous: rename or remove one",
            )
        places[identity] = place
    return places


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _bare_stem(name: str) -> str:
    stem = _stem(name).lower()
    bare = AFFIXES.sub("", stem)
    return bare or stem


def _number(name: str) -> int | None:
    found = TRAILING.search(_stem(name))
    return int(found.group(1)[-18:]) if found else None


IDENTIFIERS: dict[str, Callable[[str], str | int | None]] = {
    "key": sample_key_in,
    "stem": _bare_stem,
    "number": _number,
}


def _offset(truth: dict[str | int, int], predicted: dict[str | int, int]) -> int:
    """Find the one shift that gives every truth number a prediction; 0 where it works."""
    if truth.keys() <= predicted.keys():
        return 0
    shift = min(map(int, truth)) - min(map(int, predicted))
    if len(truth) == len(predicted) and {int(n) + shift for n in predicted} == set(truth):
        return shift
    return 0  # the missing names are then told as they are


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def natural_order(names: Sequence[str]) -> list[int]:
    """Positions sorted as people count: 2 before 10."""

    def parts(place: int) -> list[tuple[int, int, str]]:
        pieces = re.split(r"(\d+)", names[place])
        return [(0, int(p[-18:]), "") if p.isdigit() else (1, 0, p.lower()) for p in pieces]

    return sorted(range(len(names)), key=parts)


def looks_shifted(
    names: Sequence[str], truth: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> str | None:
    """Warn where another order (or a flip) of the predictions scores far better than the pairing.

    Args:
        names: names of the truth, in the order of the thumbnails.
        truth: bool ``pairs side side`` thumbnails of the truth.
        predicted: bool ``pairs side side`` thumbnails of the predictions paired with them.

    Returns:
        A warning, or None. Fewer than three pairs are never judged.
    """
    if len(names) < 3:
        return None
    order = natural_order(names)
    truth, predicted = truth[order], predicted[order]
    now = _mean_iou(truth, predicted)
    ranks = sorted(range(len(order)), key=lambda place: str(place + 1))  # 1, 10, 2, ...
    candidates = {
        "shifted by one": max(
            _mean_iou(truth[:-1], predicted[1:]), _mean_iou(truth[1:], predicted[:-1])
        ),
        "sorted as text (10 before 2) on one side": max(
            _mean_iou(truth, predicted[ranks]), _mean_iou(truth[ranks], predicted)
        ),
        "turned upside down": _mean_iou(truth, predicted[:, ::-1]),
        "mirrored": _mean_iou(truth, predicted[:, :, ::-1]),
    }
    best, score = max(candidates.items(), key=lambda candidate: candidate[1])
    if score < max(now + SHIFT_GAIN, PLAUSIBLE_MIOU):
        return None
    return (
        f"the pairing looks wrong: {best}, the same masks would score mIoU {score:.2f} instead of "
        f"{now:.2f} (on thumbnails); check the names or give --offset"
    )


def _mean_iou(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Mean over pairs of the mean IoU of object and background."""
    axes = (1, 2)
    both = (truth & predicted).sum(axes)
    either = (truth | predicted).sum(axes)
    neither = truth.shape[1] * truth.shape[2] - either
    not_both = truth.shape[1] * truth.shape[2] - both
    object_iou = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    background_iou = np.where(not_both > 0, neither / np.maximum(not_both, 1), 1.0)
    return float(((object_iou + background_iou) / 2).mean())
