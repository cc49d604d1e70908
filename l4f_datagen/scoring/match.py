"""Match: truth and prediction, paired by name and loaded one pair at a time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations import TruthSet, load_annotations
from l4f_datagen.annotations.truth import CocoIds, TruthItem, TruthMask
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask
from l4f_datagen.core.progress import Meter
from l4f_datagen.io.photo import SUFFIXES, opened, upright_rgb
from l4f_datagen.scoring.pairing import Pairing, pair_names


class Predicted(NamedTuple):
    """What is predicted for one image."""

    mask: Mask
    alpha: NDArray[np.float32] | None = None  # ``h w`` in [0, 1], None for a hard mask
    score: float | None = None  # confidence that the file states, in [0, 1]


class Prediction(Protocol):
    """Predicted masks by place; nothing decoded is kept."""

    source: str  # as the user named it
    format: str  # what the masks are read or made from

    @property
    def names(self) -> Sequence[str]:
        """One name an image; they pair."""

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Give mask and alpha of one image; ``size_hw`` where the source declares none."""

    def image(self, place: int) -> NDArray[np.uint8] | None:
        """Give the image itself, uint8 ``h w 3``, None where it is not at hand."""

    def notes(self) -> list[str]:
        """Say what was skipped, clipped or cut so far."""


OWN_FLAGS = {
    "--category": "--pred-category",
    "--mask-value": "--pred-mask-value",
    ", and --ignore-value for void levels": "",
    ", or give --boxes fill": "",
}
"""What a remedy says of the truth -> what a prediction has of it."""


@contextmanager
def _own_flags() -> Iterator[None]:
    """Name the flags of the prediction where one is refused."""
    try:
        yield
    except AnnotationRefused as error:
        remedy = error.remedy
        for flag, own in OWN_FLAGS.items():
            remedy = remedy.replace(flag, own)
        raise AnnotationRefused(error.subject, error.problem, remedy) from error


class FolderPrediction:
    """Masks on disk and, where they lie beside them, soft alphas and images.

    ``path`` is anything `load_annotations` reads, COCO results among it, or a dataset folder with
    ``masks/`` (and ``alpha/``). An image without a predicted object is an empty mask, whatever the
    format. ``options`` are further ones of `load_annotations`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        images_dir: Path | None = None,  # None looks for ``images/`` beside ``masks/``
        ids: CocoIds | None = None,  # names of the truth's COCO ids, for a results file
        **options: Any,
    ) -> None:
        folder = Path(path)
        alphas: Iterable[TruthItem] = ()
        if (folder / "masks").is_dir():
            alpha_folder = folder / "alpha"
            if alpha_folder.is_dir() and any(alpha_folder.iterdir()):
                alphas = load_annotations(alpha_folder, mask_value="soft")
            images_dir = images_dir or folder / "images"
            folder = folder / "masks"
        with _own_flags():
            self.masks = load_annotations(folder, unannotated="empty", ids=ids, **options)
        self.source, self.format = str(path), self.masks.format
        self.names: Sequence[str] = [item.name for item in self.masks]
        self._alphas = {item.stem: item for item in alphas}
        self._images_dir = images_dir

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Decode one mask and its alpha."""
        item = self.masks[place]
        with _own_flags():
            decoded = item.load(size_hw)
        soft = self._alphas.get(item.stem)
        alpha = soft.load().alpha if soft is not None else decoded.alpha
        if alpha is not None and alpha.shape != decoded.mask.shape:
            problem = "not the size of its mask"
            raise AnnotationRefused(f"alpha of {item.name}", problem, "make it again")
        return Predicted(decoded.mask, alpha, item.score)

    def image(self, place: int) -> NDArray[np.uint8] | None:
        """Read the image that pairs with the mask."""
        path = self._images.get(place)
        if path is None:
            return None
        with opened(path, str(path)) as image:
            return np.asarray(upright_rgb(image, str(path)))

    @cached_property
    def _images(self) -> dict[int, Path]:
        """Pair masks with images as truth is paired with masks: the names have the same traps."""
        folder = self._images_dir
        if folder is None or not folder.is_dir():
            return {}
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
        names = [path.relative_to(folder).as_posix() for path in paths]
        try:
            pairing = pair_names(self.names, names, allow_unused=True)
        except AnnotationRefused as error:
            problem = f"its images do not pair with the masks ({error.subject}: {error.problem})"
            raise AnnotationRefused(str(folder), problem, "name them alike") from error
        return {mask: paths[image] for mask, image in pairing.pairs}

    def notes(self) -> list[str]:
        """Say what reading the masks skipped or cut."""
        return self.masks.notes()


class Pair(NamedTuple):
    """One image to be scored: its name, the truth, and what was predicted."""

    name: str
    truth: TruthMask
    mask: Mask
    alpha: NDArray[np.float32] | None = None
    score: float | None = None


@dataclass(frozen=True)
class Match:
    """Truth and prediction with the pairing between them."""

    truth: TruthSet
    prediction: Prediction
    pairing: Pairing

    def __iter__(self) -> Iterator[Pair]:
        with Meter(len(self.pairing.pairs), "scoring", "images") as meter:
            for number in range(len(self.pairing.pairs)):
                yield self.pair(number)
                meter.advance()

    def pair(self, number: int) -> Pair:
        """Load one pair, ``number`` in the order of the pairing."""
        item = self.truth[self.pairing.pairs[number][0]]
        predicted = self.prediction.load(self.pairing.pairs[number][1], item.size_hw)
        decoded = item.load((predicted.mask.shape[0], predicted.mask.shape[1]))
        return Pair(item.name, decoded, *predicted)


def match_truth(truth: TruthSet, prediction: Prediction, **options: Any) -> Match:
    """Pair truth and prediction by their names; ``options`` are those of `pair_names`."""
    names = [item.name for item in truth]
    pairing = pair_names(names, prediction.names, left_out=truth.left_out, **options)
    return Match(truth, prediction, pairing)
