"""Write masks for photographs: ``masks/`` with 0 and 255, and ``alpha/`` with 256 levels."""

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.segmenter.model import Segmenter
from l4f_datagen.segmenter.photos import Photos, stems_of

logger = logging.getLogger(__name__)

MASKS, ALPHA = "masks", "alpha"


@dataclass(frozen=True)
class Written:
    """What became of a folder of photographs.

    Attributes:
        masks: photographs whose mask was written.
        refused: one line for each that could not be read.
    """

    masks: int
    refused: tuple[str, ...]


def write_masks(
    segmenter: Segmenter,
    photos: Photos,
    out: Path,
    *,
    threshold: float | None = None,
    with_alpha: bool = False,
    overwrite: bool = False,
) -> Written:
    """Segment photographs; each mask has the size and the name of its photograph.

    Args:
        segmenter: trained.
        photos: of any size each; one that cannot be read is said and counted, the others go on.
        out: folder; ``validate --pred`` reads it.
        threshold: mask where ``alpha > threshold``; None takes the segmenter's.
        with_alpha: also write the soft alpha.
        overwrite: replace masks that are there.

    Raises:
        UsageError: masks are there already, or ``out`` cannot be written.
        InputRefused: two photographs that would share a mask.
    """
    stems = stems_of(photos)
    folders = [out / MASKS, *([out / ALPHA] if with_alpha else [])]
    check_folder(out, folders, Path(photos.bundle.source), overwrite=overwrite)
    cut = segmenter.threshold if threshold is None else threshold
    refused: list[str] = []
    with Meter(len(photos.names), "segment", "images") as meter:
        for name in photos.names:
            try:
                photo = photos.load(name)
            except InputRefused as error:
                refused.append(str(error))
                logger.warning(str(error))
                continue
            alpha = segmenter.alpha(photo.image)
            planes = [alpha_to_mask(alpha, cut) * np.uint8(255), alpha_to_uint8(alpha)]
            for folder, plane in zip(folders, planes, strict=False):
                write_atomically(folder / f"{stems[name]}.png", _png(plane))
            meter.advance()
    return Written(len(photos.names) - len(refused), tuple(refused))


def check_folder(out: Path, folders: list[Path], source: Path, *, overwrite: bool) -> None:
    """Make the folders of masks.

    Raises:
        UsageError: masks are there already, they would lie among the photographs, or the folder
            cannot be written.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        problem = "lies among the photographs, whose masks it would be taken for"
        raise UsageError(str(out), problem, "name a folder elsewhere")
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if not overwrite and any(folder.iterdir()):
                raise UsageError(str(folder), "is not empty", "name another --out or --overwrite")
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
