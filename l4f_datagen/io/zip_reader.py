"""Zip files: members by name, checked before their bytes are taken; nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l4f_datagen.core.errors import InputRefused

FAILURES = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What zipfile raises on a bad member; RuntimeError for an unknown compression."""


@dataclass(frozen=True)
class ZipLimits:
    """What a zip may unpack to; None: no limit.

    Attributes:
        file_bytes: one member.
        total_bytes: all members together.
        ratio: unpacked to packed size, for members above 1 MiB.
    """

    file_bytes: int | None = None
    total_bytes: int | None = None
    ratio: int | None = None

    def allow(self, member: zipfile.ZipInfo, total: int) -> bool:
        """Whether a member may be read, ``total`` bytes being unpacked with it."""
        size = member.file_size
        return not (
            (self.file_bytes is not None and size > self.file_bytes)
            or (self.total_bytes is not None and total > self.total_bytes)
            or (self.ratio is not None and size > max(1 << 20, self.ratio * member.compress_size))
        )


class ZipReader:
    """The files of a zip; hidden ones and those of ``__MACOSX`` are left out.

    Args:
        path: the zip file. It stays open.
        limits: checked for all members here.
        refusal: the class of errors.

    Attributes:
        names: of the files, posix, sorted.

    Raises:
        InputRefused: as ``refusal``: no zip, or one with members that are encrypted, too large,
            named twice or outside the zip.
    """

    def __init__(
        self,
        path: Path,
        limits: ZipLimits = ZipLimits(),
        *,
        refusal: type[InputRefused] = InputRefused,
    ) -> None:
        self.source, self.refusal = str(path), refusal
        try:
            self._archive = zipfile.ZipFile(path)
            infos = self._archive.infolist()
        except FAILURES as error:
            problem = f"is no zip file, or a broken one ({error})"
            raise refusal(self.source, problem, "export or copy it again") from error
        self._members = dict(self._checked(infos, limits))
        self.names = tuple(sorted(self._members))

    def _checked(
        self, infos: list[zipfile.ZipInfo], limits: ZipLimits
    ) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        seen: set[str] = set()
        total = 0
        for info in infos:
            name = info.filename.replace("\\", "/")
            parts = name.split("/")
            shown = f"member {name!r:.60}"
            if not name or name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
                problem = f"{shown} lies outside the zip"
                raise self.refusal(self.source, problem, "do not trust this file")
            if info.is_dir() or any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            total += info.file_size
            if not limits.allow(info, total):
                sizes = f"unpacks to {info.file_size} bytes from {info.compress_size}"
                raise self.refusal(self.source, f"{shown} {sizes}", "a zip bomb is not read")
            if info.flag_bits & 1:
                raise self.refusal(self.source, f"{shown} is encrypted", "unpack it first")
            if name in seen:
                raise self.refusal(self.source, f"{shown} twice", "export the zip again")
            seen.add(name)
            yield name, info

    def size(self, name: str) -> int:
        """Unpacked bytes of a file, as the zip's directory says."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Bytes of a file, never more than the directory says.

        Raises:
            InputRefused: as ``refusal``: it cannot be unpacked, or holds more.
        """
        info = self._members[name]
        try:
            with self._archive.open(info) as stream:
                data = stream.read(info.file_size + 1)
        except FAILURES as error:
            problem = f"cannot be unpacked ({error})"
            subject = f"{self.source}/{name}"
            raise self.refusal(subject, problem, "export or copy the zip again") from error
        if len(data) > info.file_size:
            problem = "unpacks to more than its header says"
            raise self.refusal(f"{self.source}/{name}", problem, "do not trust this file")
        return data
