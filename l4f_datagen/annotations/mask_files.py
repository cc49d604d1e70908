"""Mask files an export points to: by object id or URL in a folder, or downloaded on request."""

import base64
import binascii
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from l4f_datagen.annotations.bundle import Bundle, open_bundle
from l4f_datagen.annotations.pictures import SUFFIXES
from l4f_datagen.core.errors import AnnotationRefused

# Words in the path of a mask URL that name no file.
PLAIN_WORDS = frozenset(
    (
        "api",
        "v1",
        "projects",
        "tasks",
        "annotations",
        "masks",
        "mask",
        "index",
        "feature",
        "masks-dir",
    )
)


class MaskFiles:
    """Finds the picture of one object.

    Args:
        masks_dir: folder or zip of pictures, or None.
        download: gives the bytes of a URL, or None: nothing is downloaded unasked.
    """

    def __init__(self, masks_dir: str | None, download: Callable[[str], bytes] | None) -> None:
        self.masks_dir = masks_dir
        self.download = download
        self._bundle: Bundle | None = None
        self._names: dict[str, list[str]] = {}
        self._last: tuple[str, bytes] | None = None  # objects of a composite mask share a URL
        if masks_dir is not None:
            self._bundle = open_bundle(Path(masks_dir))
            for name in self._bundle.names:
                if name.lower().endswith(SUFFIXES):
                    self._names.setdefault(PurePosixPath(name).stem, []).append(name)

    def fetch(self, object_id: str | None, url: str | None, subject: str) -> bytes:
        """Bytes of the picture of one object.

        Tried in this order: a file named by the object id, a file named like a part of the URL's
        path (from its end), the download.

        Raises:
            AnnotationRefused: not found, or found twice.
        """
        for stem in (object_id, *url_stems(url)):
            names = self._names.get(stem, []) if stem else []
            if len(names) > 1:
                raise AnnotationRefused(
                    subject, f"mask {stem:.60} is {names[0]} and {names[1]}", "keep one of them"
                )
            if names and self._bundle is not None:
                return self._bundle.read(names[0])
        if url and self.download is not None:
            if self._last is None or self._last[0] != url:
                self._last = (url, self.download(url))
            return self._last[1]
        where = (
            f"in {self.masks_dir}" if self.masks_dir else "here, and no folder of masks is given"
        )
        raise AnnotationRefused(
            subject,
            f"its mask {(object_id or '')[:60]} is not found {where}",
            "give --masks-dir with the downloaded masks, or --download",
        )


def url_stems(url: str | None) -> list[str]:
    """File stems a URL may stand for, from the end of its path; numbers after `index` are none."""
    if not url:
        return []
    parts = [unquote(part) for part in urlsplit(url).path.split("/") if part]
    kept = [
        part
        for place, part in enumerate(parts)
        if part.lower() not in PLAIN_WORDS and (place == 0 or parts[place - 1] != "index")
    ]
    return [PurePosixPath(part).stem for part in reversed(kept)]


def decode_base64(text: object, subject: str, limit: int = 1 << 28) -> bytes:
    """Decode base64, with or without a ``data:`` prefix.

    Raises:
        AnnotationRefused: no text, not base64, or longer than ``limit``.
    """
    if not isinstance(text, str) or not text or len(text) > limit:
        raise AnnotationRefused(subject, "no base64 picture", "export the file again")
    try:
        return base64.b64decode(text.rsplit(",", 1)[-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise AnnotationRefused(subject, "broken base64", "export the file again") from error
