"""Records of an export: JSON objects with their place for errors, and checks that readers share."""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.photo import MAX_PIXELS, MAX_SIDE

MAX_BASE64 = 1 << 28  # characters, of an image
MAX_NAME = 1024  # characters; a longer name is a broken file and would flood every message
SAMPLE_KEY = re.compile(r"psi\d{4,}-seed\d{7,}")
# Words around a name that say what the file is, not which image it belongs to.
WORDS = "mask|gt|label|labels|masks|pred|preds|alpha|truth|seg|segmentation|matte"
AFFIXES = re.compile(
    rf"^(?:{WORDS})[_\-. ]"
    rf"|[_\-. ](?:{WORDS}|gtfine_labelids|gtfine_polygons|gtfine_color|leftimg8bit)$"
    r"|___(?:fuse|save|pixel|objects)$"  # of SuperAnnotate
)
# Hashes that tools add to names: Roboflow's `name_jpg.rf.HASH`, Label Studio's `0a1b2c3d-name`,
# UUIDs before a name.
HASHES = re.compile(
    r"(?:_(?:jpe?g|png|bmp|webp|tiff?|gif))?\.rf\.[0-9a-z]{16,}$"
    r"|\.(?:jpe?g|png|bmp|webp|tiff?|gif)$"
    r"|^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[-_](?=.)"
    r"|^(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8}-(?=.)"
)
URL_PATH = re.compile(r"^[a-z0-9.+-]+://[^/]*/?([^?#]*)", re.IGNORECASE)

Size = tuple[int, int]  # height and width


def broken(where: str, problem: str, remedy: str = "export the labels again") -> AnnotationRefused:
    """Error of a malformed record; ``where`` names file and record."""
    return AnnotationRefused(where, problem, remedy)


class Record(NamedTuple):
    """A JSON object with its place in the export."""

    fields: dict[str, Any]
    where: str

    @classmethod
    def of(cls, data: object, where: str) -> "Record":
        """Wrap parsed JSON."""
        if not isinstance(data, dict):
            raise broken(where, "no record")
        return cls(data, where)

    def get(self, key: str) -> Any:
        """A field as it is, None where it is missing."""
        return self.fields.get(key)

    def many(self, *keys: str) -> list[Any]:
        """Several fields as they are, None for those that are missing."""
        return [self.fields.get(key) for key in keys]

    def part(self, key: str) -> "Record":
        """An object in a field, empty where the field holds none."""
        data = self.fields.get(key)
        return Record(data if isinstance(data, dict) else {}, self.where)

    def text(self, key: str) -> str:
        """A field that must be text, such as the name of a class."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise broken(self.where, f"{key} {value!r:.40}", "give it a name")
        return value

    def records(
        self, key: str, noun: str, *, id_key: str = "", may_miss: bool = False
    ) -> Iterator["Record"]:
        """The objects in a list, named for errors by ``noun`` and their id, or else their number.

        A list that ``may_miss`` and does is empty.
        """
        value = self.fields.get(key, [] if may_miss else None)
        if not isinstance(value, list):
            raise broken(self.where, f"`{key}` is not a list")
        for number, item in enumerate(value, 1):
            own = item.get(id_key) if isinstance(item, dict) else None
            shown = f"{id_key} {own!r:.60}" if isinstance(own, int | str) else str(number)
            yield Record.of(item, f"{self.where} {noun} {shown}")

    def size(self, height: str = "height", width: str = "width") -> Size:
        """The image size in two fields, see `checked_size`."""
        return checked_size(self.fields.get(height), self.fields.get(width), self.where)


def checked_size(height: object, width: object, where: str) -> Size:
    """Return ``(height, width)`` as ints; some tools write 640.0."""
    whole = [int(n) if isinstance(n, float) and n.is_integer() else n for n in (height, width)]
    rows, columns = whole
    if type(rows) is not int or type(columns) is not int:
        raise broken(where, f"height {height!r:.20} and width {width!r:.20}", "write whole numbers")
    if min(rows, columns) < 1 or max(rows, columns) > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise broken(where, f"an image of {shown((rows, columns))}", f"up to {MAX_PIXELS} are read")
    return rows, columns


def shown(size_hw: Sequence[int]) -> str:
    """A size in words, width first."""
    return f"{size_hw[1]} x {size_hw[0]} pixels"


def numbers(values: Sequence[Any], where: str, what: str) -> tuple[float, ...]:
    """Return finite numbers below 1e9, which keeps every later product finite."""
    for value in values:
        if type(value) not in (int, float) or not abs(value) < 1e9:  # also false for NaN
            raise broken(where, f"{what} {value!r:.40}", "write finite numbers")
    return tuple(float(value) for value in values)


def checked_name(raw: object, where: str, *, parents: bool = False) -> str:
    """Return an image name as a relative posix path; the file it names is never opened.

    Of a URL the decoded path counts. ``parents``: ``..`` is dropped (LabelMe writes it), not
    refused.
    """
    if not isinstance(raw, str) or not raw.strip() or not printable(raw):
        raise broken(where, f"image name {raw!r:.60}", "give each image a name")
    path = raw.strip().replace("\\", "/")
    if url := URL_PATH.match(path):
        path = unquote(url.group(1), errors="replace").replace("\\", "/")
    dropped = ("", ".", "..") if parents else ("", ".")
    parts = [part for part in path.split("/") if part not in dropped]
    if len(path) > MAX_NAME:
        raise broken(where, f"an image name of {len(path)} characters", "shorten it")
    if not parts or ".." in parts or not printable(path):
        raise broken(where, f"image name {raw!r:.60} leads out of its folder", "remove the `..`")
    return "/".join(parts)


def decode_base64(text: object, where: str) -> bytes:
    """Decode base64, with or without a ``data:`` prefix."""
    if not isinstance(text, str) or not text or len(text) > MAX_BASE64:
        raise broken(where, "no base64 image")
    try:
        return base64.b64decode(text.rsplit(",", 1)[-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise broken(where, "broken base64") from error


def sample_key_in(name: str) -> str | None:
    """Find a sample key such as ``psi0700-seed0000123`` in a name."""
    return found.group() if (found := SAMPLE_KEY.search(name)) else None


def composed(text: str) -> str:
    """Unicode in composed form (NFC): macOS writes names decomposed that look the same."""
    return unicodedata.normalize("NFC", text)


def plain_stem(name: str) -> str:
    """Stem of a name in composed Unicode and lower case, URL escapes decoded."""
    return PurePosixPath(composed(unquote(name))).stem.lower()


def bare_stem(name: str) -> str:
    """`plain_stem` without the hashes of tools and without words such as ``mask_`` or ``_gt``."""
    stem = HASHES.sub("", plain_stem(name)) or plain_stem(name)
    return AFFIXES.sub("", stem) or stem


def printable(text: str) -> bool:
    """Whether text holds no control character and no broken surrogate."""
    return not any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in text)
