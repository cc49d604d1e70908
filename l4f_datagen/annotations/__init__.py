"""Annotated sets: one reader a format, chosen by content and not by file name.

What is not as it must be is refused wherever it is found, with an `AnnotationRefused` that names
file and record; nothing is drawn or decoded before its item is loaded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from l4f_datagen.core.errors import AnnotationRefused

from . import coco, hf, label_studio, labelbox, per_image, png, unsized, xml_files
from .bundle import Bundle, open_bundle
from .records import broken
from .truth import TruthItem as TruthItem
from .truth import TruthMask as TruthMask
from .truth import TruthOptions
from .truth import TruthSet as TruthSet


class Reader(NamedTuple):
    """What of a bundle a format reads (None or empty: the bundle is of another one), and how."""

    find: Callable[[Bundle], Any]
    read: Callable[[Bundle, Any, TruthOptions], TruthSet]


# The first match reads, so the ones that look closest come first.
READERS: dict[str, Reader] = {
    "labelbox": Reader(labelbox.find, labelbox.read),
    "labelbox-legacy": Reader(labelbox.find_legacy, labelbox.read_legacy),
    "coco": Reader(coco.find, coco.read),
    "coco-results": Reader(coco.find_results, coco.read_results),
    "label-studio": Reader(label_studio.find, label_studio.read),
    "via": Reader(unsized.find_via, unsized.read_via),
    "createml": Reader(unsized.find_createml, unsized.read_createml),
    "cvat": Reader(xml_files.find_cvat, xml_files.read_cvat),
    "cvat-masks": Reader(png.find_label_map, png.read_label_map),
    "hf": Reader(hf.find, hf.read),
    "labelme": Reader(per_image.find_labelme, per_image.read_labelme),
    "cityscapes": Reader(per_image.find_cityscapes, per_image.read_cityscapes),
    "supervisely": Reader(per_image.find_supervisely, per_image.read_supervisely),
    "labelme-xml": Reader(xml_files.find_labelme, xml_files.read_labelme),
    "yolo": Reader(unsized.find_yolo, unsized.read_yolo),
    "png": Reader(png.find, png.read),
}


def load_annotations(
    path: str | Path,
    *,
    format: str | None = None,
    category: str | Sequence[str] | None = None,
    mask_value: str | int | None = None,
    ignore_value: str | int | Sequence[str | int] = (),
    ignore_category: str | Sequence[str] = (),
    masks_dir: str | Path | None = None,
    **options: Any,
) -> TruthSet:
    """Open an annotated set of any known format: a file, a folder or a zip.

    Args:
        path: of the set.
        format: name of a reader (see `READERS`); None finds it by content.
        category: class or classes that are foreground, ``"*"`` for all; None: the only one.
        mask_value: which pixels of mask images are foreground: ``7``, ``"#ff0000"``, ``">127"``,
            ``"alpha"`` or ``"soft"``; None: the rules of `l4f_datagen.annotations.mask_rule`.
        ignore_value: levels or colours of mask images that are not scored.
        ignore_category: classes whose areas are not scored.
        masks_dir: folder of mask files an export refers to.
        **options: ``unannotated``, ``crowd``, ``boxes``, ``annotators`` and further fields of
            `l4f_datagen.annotations.truth.TruthOptions`.

    Returns:
        A lazy sequence of `TruthItem`; ``item.load()`` decodes one mask, bool ``h w``.

    Raises:
        AnnotationRefused: no reader knows the file, or the reader refuses it.
    """
    bundle = open_bundle(Path(path))
    values = (ignore_value,) if isinstance(ignore_value, str | int) else tuple(ignore_value)
    record = TruthOptions(
        category=_names(category),
        mask_value=None if mask_value is None else str(mask_value),
        ignore_value=tuple(str(value) for value in values),
        ignore_category=_names(ignore_category),
        masks_dir=None if masks_dir is None else str(masks_dir),
        **options,
    )
    if format is not None and format not in READERS:
        remedy = f"choose from {', '.join(READERS)}"
        raise broken(f"annotation format {format!r}", "unknown", remedy)
    for reader in READERS.values() if format is None else (READERS[format],):
        found = reader.find(bundle)
        if found:
            return reader.read(bundle, found, record)
    raise _unknown(bundle, format)


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _unknown(bundle: Bundle, format: str | None) -> AnnotationRefused:
    """The error of a bundle in which nothing is found; broken JSON says where it breaks."""
    if bundle.kind == "file" and bundle.head(bundle.names[0], 2) in (b"\xff\xfe", b"\xfe\xff"):
        return broken(bundle.source, "UTF-16 text", "save the file as UTF-8")
    document = bundle.document()
    if document is not None:
        bundle.rows(document)
    if format is not None:
        return broken(bundle.source, f"nothing of format {format}", "name its file or folder")
    remedy = f"known are {', '.join(READERS)}; export COCO with outlines, or mask PNGs"
    return broken(bundle.source, "no known annotation format", remedy)
