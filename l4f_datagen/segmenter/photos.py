"""Photographs through a segmenter: read from a file, a folder or a zip, masked, or scored."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from l4f_datagen.annotations.bundle import Bundle, open_bundle
from l4f_datagen.annotations.truth import TruthSet
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import alpha_to_uint8
from l4f_datagen.io.figures import save_png
from l4f_datagen.io.photo import FORMATS, SUFFIXES, opened, upright_rgb
from l4f_datagen.io.photographs import TURNED
from l4f_datagen.scoring import Pair, ScoreReport, score_pairs
from l4f_datagen.scoring.pairing import Rule, pair_names
from l4f_datagen.segmenter.model import Segmenter

logger = logging.getLogger(__name__)

MASKS, ALPHA = "masks", "alpha"


@dataclass(frozen=True)
class Photo:
    """A decoded photograph."""

    image: NDArray[np.uint8]  # ``h w 3``, RGB, upright
    is_turned: bool  # whether the file stores it lying on its side


@dataclass(frozen=True)
class Photos:
    """The photographs of a file, a folder or a zip; each is decoded when it is asked for."""

    names: tuple[str, ...]  # relative posix names, sorted
    bundle: Bundle

    def load(self, name: str) -> Photo:
        """Decode one; its size is checked before its pixels are decoded.

        Of the images that a phone stores in one JPEG (MPO) the first counts; several images in any
        other file are refused.
        """
        subject = self.bundle.subject(name)
        with opened(self.bundle.read(name), subject, FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise InputRefused(subject, f"holds {frames} images", "save the one you mean")
            if image.format != "TIFF":  # which Pillow turns as it reads
                image.load()  # a PNG keeps its EXIF anywhere
            is_turned = False
            with suppress(Exception):  # broken EXIF turns nothing
                is_turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
            return Photo(np.asarray(upright_rgb(image, subject)), is_turned)


def open_photos(path: Path) -> Photos:
    """List the photographs of a file, of a folder and those below it, or of a zip."""
    if not path.is_dir() or any(path.iterdir()):
        bundle = open_bundle(path)
        names = bundle.names
        if bundle.kind != "file":
            names = tuple(name for name in names if name.lower().endswith(SUFFIXES))
        if names:
            return Photos(names, bundle)
    problem = f"holds no image ({' '.join(SUFFIXES)})"
    raise InputRefused(str(path), problem, "name a folder of images")


def write_masks(
    segmenter: Segmenter,
    photos: Photos,
    out: Path,
    *,
    threshold: float | None = None,
    with_alpha: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Segment photographs; each mask has the size and the name of its photograph.

    One that cannot be read is logged, the others go on: returns a line for each. ``validate
    --pred`` reads ``out``. ``threshold`` None takes the segmenter's.
    """
    files: dict[str, str] = {}  # of masks -> names of photographs
    for name in photos.names:
        file = PurePosixPath(name).with_suffix(".png").as_posix()
        if file in files:
            problem = f"{files[file]} and {name} would share one mask"
            raise InputRefused(photos.bundle.source, problem, "rename one of them")
        files[file] = name
    source, folders = Path(photos.bundle.source), [out / MASKS, *([out / ALPHA] * with_alpha)]
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        problem = "lies among the photographs, which its masks would be taken for"
        raise UsageError(str(out), problem, "name a folder elsewhere")
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if not overwrite and any(folder.iterdir()):
                raise UsageError(str(folder), "is not empty", "name another --out or --overwrite")
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error
    cut = segmenter.threshold if threshold is None else threshold
    refused: list[str] = []
    with Meter(len(photos.names), "segment", "images") as meter:
        for file, name in files.items():
            try:
                photo = photos.load(name)
            except InputRefused as error:
                refused.append(str(error))
                logger.warning(str(error))
                continue
            alpha = segmenter.alpha(photo.image)
            planes = [alpha_to_mask(alpha, cut) * np.uint8(255), alpha_to_uint8(alpha)]
            for folder, plane in zip(folders, planes, strict=False):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                save_png(Image.fromarray(plane), folder / file)
            meter.advance()
    return refused


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

    ``threshold`` None takes the segmenter's; names are paired as in ``pair_names``, and ``options``
    are further ones of ``score_pairs``, such as ``paper_compat``.
    """
    names, own, unused = [item.name for item in truth], list(photos.names), allow_unused
    left_out = truth.left_out
    pairing = pair_names(
        names, own, left_out=left_out, pair_by=pair_by, offset=offset, allow_unused=unused
    )
    cut = segmenter.threshold if threshold is None else threshold

    def pairs() -> Iterator[Pair]:
        for truth_place, place in pairing.pairs:
            item, photo = truth[truth_place], photos.load(photos.names[place])
            height, width = photo.image.shape[:2]
            decoded = item.load((height, width))
            if photo.is_turned and decoded.mask.shape == (width, height) != (height, width):
                problem = "drawn on the photograph as stored, which its EXIF data turns"
                remedy = "store the photograph upright and annotate that"
                raise AnnotationRefused(f"truth of {item.name}", problem, remedy)
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
