"""Annotated sets: one reader a format, chosen by content and not by file name.

What is not as it must be is refused wherever it is found, with an `AnnotationRefused` that names
file and record; nothing is drawn or decoded before its item is loaded.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import coco, hf, label_studio, labelbox, per_image, png, unsized, xml_files
from .bundle import Bundle, open_bundle
from .records import broken
from .shapes import ImageShapes, truth_from_shapes
from .truth import TruthItem as TruthItem
from .truth import TruthMask as TruthMask
from .truth import TruthOptions
from .truth import TruthSet as TruthSet


class Reader(NamedTuple):
    """What of a bundle a format reads (None or empty: the bundle is of another one), and how."""

    find: Callable[[Bundle], Any]
    read: Callable[[Bundle, Any], TruthSet | Iterable[ImageShapes]]
    layered: bool = False  # see `truth_from_shapes`


# The first match reads, so the ones that look closest come first.
READERS: dict[str, Reader] = {
    "labelbox": Reader(labelbox.find, labelbox.read),
    "labelbox-legacy": Reader(labelbox.find_legacy, labelbox.read_legacy),
    "coco": Reader(coco.find, coco.read),
    "coco-results": Reader(coco.find_results, coco.read_results),
    "label-studio": Reader(label_studio.find, label_studio.read),
    "via": Reader(unsized.find_via, unsized.read_via),
    "createml": Reader(unsized.find_createml, unsized.read_createml),
    "cvat": Reader(xml_files.find_cvat, xml_files.read_cvat, layered=True),
    "cvat-masks": Reader(png.find_label_map, png.read_label_map),
    "hf": Reader(hf.find, hf.read),
    "labelme": Reader(per_image.find_labelme, per_image.read_labelme, layered=True),
    "cityscapes": Reader(per_image.find_cityscapes, per_image.read_cityscapes, layered=True),
    "supervisely": Reader(per_image.find_supervisely, per_image.read_supervisely, layered=True),
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

    ``format`` names a reader (None: found by content), ``category`` the classes that are foreground
    (``"*"``: all, None: the only one), ``ignore_category`` those that are not scored. Of mask
    images ``mask_value`` tells the foreground: ``7``, ``"#ff0000"``, ``">127"``, ``"alpha"`` or
    ``"soft"``, None: the rules of `l4f_datagen.annotations.mask_rule`; ``ignore_value`` tells
    levels or colours that are not scored. ``masks_dir`` is the folder of mask files an export
    refers to. ``options`` are ``unannotated``, ``crowd``, ``boxes``, ``annotators`` and further
    fields of `l4f_datagen.annotations.truth.TruthOptions`.

    Returns a lazy sequence of `TruthItem`: ``item.load()`` decodes one mask, bool ``h w``. Raises
    AnnotationRefused where no reader knows the file, or the reader refuses it.
    """
    bundle = open_bundle(Path(path))
    values = (ignore_value,) if isinstance(ignore_value, str | int) else ignore_value
    bundle.options = TruthOptions(
        category=_names(category),
        mask_value=None if mask_value is None else str(mask_value),
        ignore_value=tuple(map(str, values)),
        ignore_category=_names(ignore_category),
        masks_dir=None if masks_dir is None else str(masks_dir),
        **options,
    )
    known, source = ", ".join(READERS), bundle.source
    if format is not None and format not in READERS:
        raise broken(f"annotation format {format!r}", "unknown", f"choose from {known}")
    for name in READERS if format is None else (format,):
        reader = READERS[name]
        if found := reader.find(bundle):
            truth = reader.read(bundle, found)
            if not isinstance(truth, TruthSet):
                truth = truth_from_shapes(bundle, truth, layered=reader.layered)
            truth.format = name
            return truth
    if bundle.kind == "file" and bundle.head(bundle.names[0], 2) in (b"\xff\xfe", b"\xfe\xff"):
        raise broken(source, "UTF-16 text", "save the file as UTF-8")
    if document := bundle.document():
        bundle.rows(document)  # broken JSON says where it breaks
    if format is not None:
        raise broken(source, f"nothing of format {format}", "name its file or folder")
    remedy = f"known are {known}; export COCO with outlines, or mask PNGs"
    raise broken(source, "no known annotation format", remedy)


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())
