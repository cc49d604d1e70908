"""Bundle: the bytes of one export, be it a file, a folder or a zip, behind the same few limits.

Nothing is unpacked to disk. Names that lead out of the bundle, members that grow beyond the limits
and encrypted members are refused before their bytes are taken.
"""

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.untrusted import ZipReader

from .records import broken, printable

DOCUMENTS = (".json", ".ndjson", ".jsonl")
MAX_FILES = 1_000_000  # a choice, far above any export, and so is the next one
MAX_FILE_BYTES = 512 << 20
# Of all members unpacked, and of one to its packed size: deflate reaches about 1000 on zeros; a
# 1-bit mask of one flat colour stays below 400.
ZIP_LIMITS = {"file_bytes": MAX_FILE_BYTES, "total_bytes": 8 << 30, "ratio": 400}


@dataclass
class Bundle:
    """Names and bytes of an export."""

    source: str  # path as the user gave it
    names: tuple[str, ...]  # relative, posix, sorted; one for a single file
    reader: Callable[[str], bytes]  # gives the bytes of a name
    kind: str  # file, folder or zip
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
        """Bytes of one file."""
        data = self.reader(name)
        if not data:
            raise broken(self.subject(name), "0 bytes", "export or copy the file again")
        return data

    def source_of(self, name: str) -> tuple[str, Callable[[], bytes]]:
        """Name of one file for an error line, and what reads it."""
        return self.subject(name), partial(self.read, name)

    def text(self, name: str) -> str:
        """UTF-8 text of one file, byte order mark dropped."""
        data = self.read(name)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x})"
            raise broken(self.subject(name), problem, "save the file as UTF-8") from error

    def json(self, name: str) -> Any:
        """Parsed JSON of one file, parsed once."""
        if name not in self._json:
            self._json[name] = parse_json(self.text(name), self.subject(name))
        return self._json[name]

    def rows(self, name: str) -> list[tuple[str, Any]]:
        """Records of a JSON list, one JSON object, or NDJSON, each with its place for errors."""
        key = f"{name}\0rows"
        if key not in self._json:
            self._json[key] = self._split_rows(name)
        return cast(list[tuple[str, Any]], self._json[key])

    def _split_rows(self, name: str) -> list[tuple[str, Any]]:
        subject, text = self.subject(name), self.text(name)
        lines = [(f"{subject} line {n}", line) for n, line in enumerate(text.splitlines(), 1)]
        lines = [(where, line) for where, line in lines if line.strip()]
        if len(lines) > 1 and isinstance(_parsed(lines[0][1]), dict):
            return [(where, parse_json(line, where)) for where, line in lines]
        data = self.json(name)
        if isinstance(data, list):
            return [(f"{subject} row {n}", row) for n, row in enumerate(data, 1)]
        return [(subject, data)]

    def csv_rows(self, name: str) -> list[tuple[str, Any]]:
        """Records of a CSV file by its header, each with its place for errors."""
        subject = self.subject(name)
        limit = csv.field_size_limit(1 << 28)  # a label with masks is longer than the usual 128 KiB
        try:
            table = csv.DictReader(io.StringIO(self.text(name)))
            return [(f"{subject} row {n}", dict(row)) for n, row in enumerate(table, 1)]
        except csv.Error as error:
            raise broken(subject, f"broken CSV ({error})") from error
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

    def peek(self) -> Any:
        """Parsed JSON of the one document for a sniffer; None without one or where it is broken."""
        name = self.document()
        try:
            return None if name is None else self.json(name)
        except AnnotationRefused:
            return None  # the error is raised where the file is read

    def first_row(self) -> dict[str, Any]:
        """First of `rows` for a sniffer; empty without one or where the document is broken."""
        name = self.document()
        try:
            rows = [] if name is None else self.rows(name)
        except AnnotationRefused:  # a later line may be broken: the first one tells the format
            line = self.head(name or "", 1 << 24).lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n")[0]
            rows = [("", _parsed(line))]
        return rows[0][1] if rows and isinstance(rows[0][1], dict) else {}

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


def _parsed(text: str | bytes) -> Any:
    """Parsed JSON, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def parse_json(text: str, where: str) -> Any:
    """Parse JSON text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not JSON (line {error.lineno} column {error.colno}: {error.msg})"
        raise broken(where, problem) from error
    except (RecursionError, ValueError) as error:
        raise broken(where, "JSON nested too deep or with an absurd number") from error


def open_bundle(path: Path) -> Bundle:
    """Open a file, folder or zip for reading."""
    if path.is_dir():
        return _folder(path)
    source = str(path)
    if not path.is_file():
        held = "neither a file nor a folder" if path.exists() else "no such file or folder"
        raise broken(source, held, "check the path")
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise broken(source, f"cannot be read ({error.strerror})", "check its rights") from error
    if not head:
        raise broken(source, "0 bytes", "export or copy the file again")
    if head in (b"PK\x03\x04", b"PK\x05\x06"):
        archive = ZipReader(path, **ZIP_LIMITS, refusal=AnnotationRefused)
        return _checked(Bundle(source, archive.names, archive.read, "zip"))
    return Bundle(source, (path.name,), lambda _: _read_path(path), "file")


def _read_path(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            remedy = f"files up to {MAX_FILE_BYTES >> 20} MiB are read"
            raise broken(str(path), f"{size >> 20} MiB", remedy)
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise broken(str(path), problem, "check that it exists and its rights") from error


def _folder(path: Path) -> Bundle:
    names: list[str] = []

    def unreadable(error: OSError) -> None:
        problem = f"cannot be read ({error.strerror})"
        raise broken(str(error.filename), problem, "check its rights") from error

    for folder, folders, files in os.walk(path, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        base = Path(folder).relative_to(path)
        names.extend((base / name).as_posix() for name in files if not name.startswith("."))
        if len(names) > MAX_FILES:
            break
    found = tuple(sorted(names))
    return _checked(Bundle(str(path), found, lambda name: _read_path(path / name), "folder"))


def _checked(bundle: Bundle) -> Bundle:
    """A folder or zip with files, and not too many, whose names break no terminal or report."""
    if not bundle.names:
        raise broken(bundle.source, f"an empty {bundle.kind}", "name the masks or labels")
    if len(bundle.names) > MAX_FILES:
        raise broken(bundle.source, f"more than {MAX_FILES} files", f"name a smaller {bundle.kind}")
    for name in bundle.names:
        if not printable(name):
            problem = f"file name {name!r:.60} is not plain UTF-8 text"
            raise broken(bundle.source, problem, "rename the file")
    return bundle
