"""Annotated sets: one reader a format, chosen by what a file holds and not by its name."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from l4f_datagen.annotations import (
    coco,
    cvat,
    cvat_masks,
    hf,
    label_studio,
    labelbox,
    labelbox_legacy,
    labelme,
    png,
    supervisely,
)
from l4f_datagen.annotations.bundle import Bundle, open_bundle
from l4f_datagen.annotations.truth import TruthItem as TruthItem
from l4f_datagen.annotations.truth import TruthMask as TruthMask
from l4f_datagen.annotations.truth import TruthOptions
from l4f_datagen.annotations.truth import TruthSet as TruthSet
from l4f_datagen.core.errors import AnnotationRefused

# Each reader is a module with `matches(bundle)` and `read(bundle, options)`; the first match reads,
# so the ones that look closest come first.
READERS: dict[str, ModuleType] = {
    "labelbox": labelbox,
    "labelbox-legacy": labelbox_legacy,
    "coco": coco,
    "label-studio": label_studio,
    "cvat": cvat,
    "cvat-masks": cvat_masks,
    "hf": hf,
    "labelme": labelme,
    "supervisely": supervisely,
    "png": png,
}


def open_truth(
    path: str | Path,
    *,
    format: str | None = None,
    category: str | Sequence[str] | None = None,
    mask_value: str | int | None = None,
    masks_dir: str | Path | None = None,
    **options: Any,
) -> TruthSet:
    """Open an annotated set of any known format.

    Args:
        path: file, folder or zip.
        format: name of a reader; None finds it by content.
        category: class or classes that are foreground, ``"*"`` for all.
        mask_value: which pixels of mask pictures are foreground, see `TruthOptions`.
        masks_dir: folder of mask files an export refers to.
        **options: further fields of `TruthOptions`.

    Returns:
        A lazy set; its items decode one mask at a time.

    Raises:
        AnnotationRefused: no reader knows the file, or the reader refuses it.
    """
    bundle = open_bundle(Path(path))
    names = (category,) if isinstance(category, str) else tuple(category or ())
    told = TruthOptions(
        category=names,
        mask_value=None if mask_value is None else str(mask_value),
        masks_dir=None if masks_dir is None else str(masks_dir),
        **options,
    )
    reader = READERS.get(format) if format is not None else _sniff(bundle)
    if reader is None:
        raise AnnotationRefused(
            f"annotation format {format!r}", "unknown", f"choose from {', '.join(READERS)}"
        )
    truth: TruthSet = reader.read(bundle, told)
    return truth


def _sniff(bundle: Bundle) -> ModuleType:
    for reader in READERS.values():
        if reader.matches(bundle):
            return reader
    if bundle.kind == "file" and bundle.head(bundle.names[0], 2) in (b"\xff\xfe", b"\xfe\xff"):
        raise AnnotationRefused(bundle.source, "UTF-16 text", "save the file as UTF-8")
    document = bundle.document()
    if document is not None:
        bundle.rows(document)  # broken JSON says where it breaks
    raise AnnotationRefused(
        bundle.source, "no known annotation format", f"known are {', '.join(READERS)}"
    )
