"""Prediction: the masks that are scored, be they files or rendered on the spot."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations import TruthSet, open_truth
from l4f_datagen.annotations.pictures import SUFFIXES, decode_picture
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring.image_score import Mask
from l4f_datagen.scoring.pairing import pair_names


class Predicted(NamedTuple):
    """What is predicted for one image: bool ``h w``, and float32 ``h w`` where it is soft."""

    mask: Mask
    alpha: NDArray[np.float32] | None = None


class Prediction(Protocol):
    """Predicted masks by place; nothing decoded is kept.

    Attributes:
        source: as the user named it.
        format: what the masks are read or made from.
    """

    source: str
    format: str

    @property
    def names(self) -> Sequence[str]:
        """One name an image; they pair."""

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Give mask and alpha of one image; ``size_hw`` where the source declares none."""

    def picture(self, place: int) -> NDArray[np.uint8] | None:
        """Give the picture itself, uint8 ``h w 3``, None where it is not at hand."""

    def notes(self) -> list[str]:
        """Say what was skipped, clipped or cut so far."""


class FolderPrediction:
    """Masks on disk and, where they lie beside them, soft alphas and pictures.

    Args:
        path: folder of masks, COCO file, or a dataset folder with ``masks/`` (and ``alpha/``).
        category: class that is foreground, for files with several.
        mask_value: which pixels are foreground, see `l4f_datagen.annotations.png`.
        exact_white: only level 255 is foreground.
        images_dir: where the pictures are; None looks for ``images/`` beside ``masks/``.

    Raises:
        AnnotationRefused: as `open_truth`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        category: str | Sequence[str] | None = None,
        mask_value: str | int | None = None,
        exact_white: bool = False,
        images_dir: Path | None = None,
    ) -> None:
        folder = Path(path)
        alphas: TruthSet | None = None
        if (folder / "masks").is_dir():
            alpha_folder = folder / "alpha"
            if alpha_folder.is_dir() and any(alpha_folder.iterdir()):
                alphas = open_truth(alpha_folder, mask_value="soft")
            images_dir = images_dir or folder / "images"
            folder = folder / "masks"
        self.masks = open_truth(
            folder, category=category, mask_value=mask_value, exact_white=exact_white
        )
        self.source, self.format = str(path), self.masks.format
        self.names: Sequence[str] = [item.name for item in self.masks]
        self._alphas = {item.stem: item for item in alphas} if alphas is not None else {}
        self._images_dir = images_dir
        self._pictures: dict[int, Path] | None = None

    def load(self, place: int, size_hw: tuple[int, int] | None = None) -> Predicted:
        """Decode one mask and its alpha.

        Raises:
            AnnotationRefused: a broken file, or an alpha of another size than its mask.
        """
        item = self.masks[place]
        decoded = item.load(size_hw)
        soft = self._alphas.get(item.stem)
        alpha = soft.load().alpha if soft is not None else decoded.alpha
        if alpha is not None and alpha.shape != decoded.mask.shape:
            raise AnnotationRefused(
                f"alpha of {item.name}", "not the size of its mask", "make it again"
            )
        return Predicted(decoded.mask, alpha)

    def picture(self, place: int) -> NDArray[np.uint8] | None:
        """Read the picture that pairs with the mask.

        Raises:
            AnnotationRefused: pictures that do not pair, or a broken one.
        """
        if self._pictures is None:
            self._pictures = self._find_pictures()
        path = self._pictures.get(place)
        if path is None:
            return None
        decoded = decode_picture(path.read_bytes(), str(path))
        if decoded.rgb is not None:
            return decoded.rgb
        return np.repeat(np.asarray(decoded.grey)[:, :, None], 3, axis=2)

    def _find_pictures(self) -> dict[int, Path]:
        """Pair masks with pictures as truth is paired with masks: the names have the same traps."""
        folder = self._images_dir
        if folder is None or not folder.is_dir():
            return {}
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
        names = [path.relative_to(folder).as_posix() for path in paths]
        try:
            pairing = pair_names(self.names, names, allow_unused=True)
        except AnnotationRefused as error:
            problem = f"its pictures do not pair with the masks ({error.subject}: {error.problem})"
            raise AnnotationRefused(str(folder), problem, "name them alike") from error
        return {mask: paths[picture] for mask, picture in pairing.pairs}

    def notes(self) -> list[str]:
        """Say what reading the masks skipped or cut."""
        return self.masks.notes()
