"""Bundle: the bytes of one export, be it a file, a folder or a zip, behind the same few limits.

Nothing is unpacked to disk. Names that lead out of the bundle, members that grow beyond the limits
and encrypted members are refused before their bytes are taken.
"""

import csv
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l4f_datagen.annotations.truth import printable
from l4f_datagen.core.errors import AnnotationRefused

DOCUMENTS = (".json", ".ndjson", ".jsonl")
MAX_FILES = 1_000_000
MAX_FILE_BYTES = 512 << 20
MAX_ZIP_BYTES = 8 << 30  # all members together, unpacked
MAX_ZIP_RATIO = (
    400  # deflate reaches about 1000 on zeros; a 1-bit mask of one flat colour stays below
)


@dataclass
class Bundle:
    """Names and bytes of an export.

    Attributes:
        source: path as the user gave it.
        names: relative posix names, sorted; one name for a single file.
        reader: gives the bytes of a name.
        kind: ``file``, ``folder`` or ``zip``.
    """

    source: str
    names: tuple[str, ...]
    reader: Callable[[str], bytes]
    kind: str
    _json: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path | None:
        """Path of one file where it lies on disk as it is, None inside a zip."""
        if self.kind == "zip":
            return None
        return Path(self.source) if self.kind == "file" else Path(self.source) / name

    def subject(self, name: str) -> str:
        """Name one file of the bundle for an error line."""
        return self.source if self.kind == "file" else f"{self.source}/{name}"

    def read(self, name: str) -> bytes:
        """Bytes of one file.

        Raises:
            AnnotationRefused: missing, empty, unreadable or above the size limit.
        """
        data = self.reader(name)
        if not data:
            raise AnnotationRefused(self.subject(name), "0 bytes", "export or copy the file again")
        return data

    def text(self, name: str) -> str:
        """UTF-8 text of one file, byte order mark dropped.

        Raises:
            AnnotationRefused: the bytes are not UTF-8.
        """
        data = self.read(name)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AnnotationRefused(
                self.subject(name),
                f"not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x})",
                "save the file as UTF-8",
            ) from error

    def json(self, name: str) -> Any:
        """Parsed JSON of one file, parsed once.

        Raises:
            AnnotationRefused: not UTF-8 or not JSON.
        """
        if name not in self._json:
            self._json[name] = parse_json(self.text(name), self.subject(name))
        return self._json[name]

    def rows(self, name: str) -> list[tuple[str, Any]]:
        """Records of a JSON list, one JSON object, or NDJSON, each with its place for errors.

        Raises:
            AnnotationRefused: not UTF-8, or a line that is not JSON.
        """
        key = f"{name}\0rows"
        if key not in self._json:
            self._json[key] = self._split_rows(name)
        rows: list[tuple[str, Any]] = self._json[key]
        return rows

    def _split_rows(self, name: str) -> list[tuple[str, Any]]:
        subject, text = self.subject(name), self.text(name)
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) > 1 and _is_json(lines[0][1], dict):
            return [
                (f"{subject} line {n}", parse_json(line, f"{subject} line {n}"))
                for n, line in lines
            ]
        data = self.json(name)
        if isinstance(data, list):
            return [(f"{subject} row {n}", row) for n, row in enumerate(data, 1)]
        return [(subject, data)]

    def csv_rows(self, name: str) -> list[tuple[str, Any]]:
        """Records of a CSV file by its header, each with its place for errors.

        Raises:
            AnnotationRefused: not UTF-8, or no CSV.
        """
        subject = self.subject(name)
        limit = csv.field_size_limit(1 << 28)  # a label with masks is longer than the usual 128 KiB
        try:
            table = csv.DictReader(io.StringIO(self.text(name)))
            return [(f"{subject} row {n}", dict(row)) for n, row in enumerate(table, 1)]
        except csv.Error as error:
            raise AnnotationRefused(subject, f"broken CSV ({error})", "export it again") from error
        finally:
            csv.field_size_limit(limit)

    def forget(self, name: str) -> None:
        """Drop the parsed JSON of one file, once its shapes are taken."""
        self._json.pop(name, None)

    def document(self) -> str | None:
        """Name of the one JSON or NDJSON file of the bundle, None where there are more or none."""
        if self.kind == "file":
            head = self.head(self.names[0]).lstrip(b"\xef\xbb\xbf \t\r\n")
            return self.names[0] if head[:1] in (b"{", b"[") else None
        names = [name for name in self.names if name.lower().endswith(DOCUMENTS)]
        return names[0] if len(names) == 1 else None

    def needed(self, what: str) -> str:
        """Name of the one document, for a reader that cannot do without.

        Raises:
            AnnotationRefused: there is none, or more than one.
        """
        name = self.document()
        if name is None:
            raise AnnotationRefused(self.source, f"no {what}", "name its file")
        return name

    def peek(self) -> Any:
        """Parsed JSON of the one document for a sniffer; None without one or where it is broken."""
        name = self.document()
        try:
            return None if name is None else self.json(name)
        except AnnotationRefused:
            return None  # the error is raised where the file is read

    def head(self, name: str, size: int = 512) -> bytes:
        """First bytes of one file for a sniffer; empty where it cannot be read."""
        path = self.path(name)
        if path is None:
            return self.reader(name)[:size]
        try:
            with path.open("rb") as stream:
                return stream.read(size)
        except OSError:
            return b""


def _is_json(text: str, kind: type) -> bool:
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def parse_json(text: str, subject: str) -> Any:
    """Parse JSON text.

    Raises:
        AnnotationRefused: no JSON, nested too deep, or a number of absurd length.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationRefused(
            subject,
            f"not JSON (line {error.lineno} column {error.colno}: {error.msg})",
            "export the file again",
        ) from error
    except (RecursionError, ValueError) as error:
        raise AnnotationRefused(
            subject, "JSON nested too deep or with an absurd number", "export the file again"
        ) from error


def open_bundle(path: Path) -> Bundle:
    """Open a file, folder or zip for reading.

    Raises:
        AnnotationRefused: it does not exist, cannot be read, is empty, or is an unsafe zip.
    """
    source = str(path)
    if path.is_dir():
        return _folder(path, source)
    if not path.exists():
        raise AnnotationRefused(source, "no such file or folder", "check the path")
    if not path.is_file():
        raise AnnotationRefused(source, "neither a file nor a folder", "check the path")
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise AnnotationRefused(
            source, f"cannot be read ({error.strerror})", "check its rights"
        ) from error
    if not head:
        raise AnnotationRefused(source, "0 bytes", "export or copy the file again")
    if head in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(path, source)
    return Bundle(source, (path.name,), lambda _: _read_path(path), "file")


def _read_path(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise AnnotationRefused(
                str(path), f"{size >> 20} MiB", f"files up to {MAX_FILE_BYTES >> 20} MiB are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise AnnotationRefused(
            str(path), f"cannot be read ({error.strerror})", "check that it exists and its rights"
        ) from error


def _folder(path: Path, source: str) -> Bundle:
    names: list[str] = []

    def unreadable(error: OSError) -> None:
        raise AnnotationRefused(
            str(error.filename), f"cannot be read ({error.strerror})", "check its rights"
        ) from error

    for folder, folders, files in os.walk(path, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        base = Path(folder).relative_to(path)
        names.extend((base / name).as_posix() for name in files if not name.startswith("."))
        if len(names) > MAX_FILES:
            raise AnnotationRefused(source, f"more than {MAX_FILES} files", "name a smaller folder")
    if not names:
        raise AnnotationRefused(source, "an empty folder", "name the folder that holds the masks")
    for name in names:
        _check_printable(name, source)
    return Bundle(source, tuple(sorted(names)), lambda name: _read_path(path / name), "folder")


def _check_printable(name: str, source: str) -> None:
    """Refuse names that would break a terminal or a report."""
    if not printable(name):
        raise AnnotationRefused(
            source, f"file name {name!r:.60} is not plain UTF-8 text", "rename the file"
        )


def _zip(path: Path, source: str) -> Bundle:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError) as error:
        raise AnnotationRefused(source, "a broken zip file", "export or copy it again") from error
    members: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in infos:
        name = info.filename.replace("\\", "/")
        parts = name.split("/")
        if not name or name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
            raise AnnotationRefused(
                source, f"member {name!r:.60} leads out of the zip", "do not trust this file"
            )
        if info.is_dir() or parts[0] == "__MACOSX" or parts[-1].startswith("."):
            continue
        _check_printable(name, source)
        total += info.file_size
        if (
            info.file_size > MAX_FILE_BYTES
            or total > MAX_ZIP_BYTES
            or info.file_size > max(1 << 20, MAX_ZIP_RATIO * info.compress_size)
        ):
            raise AnnotationRefused(
                source,
                f"member {name!r:.60} unpacks to {info.file_size} bytes from {info.compress_size}",
                "a zip bomb is not read",
            )
        if info.flag_bits & 1:
            raise AnnotationRefused(source, f"member {name!r:.60} is encrypted", "unpack it first")
        if name in members:
            raise AnnotationRefused(source, f"member {name!r:.60} twice", "export the zip again")
        members[name] = info
    if not members or len(members) > MAX_FILES:
        raise AnnotationRefused(source, f"a zip of {len(members)} files", "name another file")

    def read(name: str) -> bytes:
        info = members[name]
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as stream:
                data = stream.read(info.file_size + 1)  # never more than the header promised
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            RuntimeError,  # unknown compression or an encrypted member
            ValueError,
        ) as error:
            raise AnnotationRefused(
                f"{source}/{name}", "cannot be unpacked", "export or copy the zip again"
            ) from error
        if len(data) > info.file_size:
            raise AnnotationRefused(
                f"{source}/{name}", "unpacks to more than its header says", "do not trust this file"
            )
        return data

    return Bundle(source, tuple(sorted(members)), read, "zip")
