"""Bundle: the bytes of one export, be it a file, a folder or a zip, behind the same few limits.

Nothing is unpacked to disk. Names that lead out of the bundle, members that grow beyond the limits
and encrypted members are refused before their bytes are taken.
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.io.photo import SUFFIXES
from l4f_datagen.io.untrusted import ZipReader

from .records import Record, broken, composed, printable
from .truth import TruthOptions

MAX_FILES = 1_000_000  # a choice, far above any export, and so is the next one
MAX_FILE_BYTES = 512 << 20
# Of all members unpacked, and of one to its packed size: deflate reaches about 1000 on zeros; a
# 1-bit mask of one flat colour stays below 400.
ZIP_LIMITS = {"file_bytes": MAX_FILE_BYTES, "total_bytes": 8 << 30, "ratio": 400}


@dataclass
class Bundle:
    """Names and bytes of an export, how it is to be read, and what of it was not used."""

    source: str  # path as the user gave it
    names: tuple[str, ...]  # relative, posix, sorted; one for a single file
    reader: Callable[[str], bytes]  # gives the bytes of a name
    kind: str  # file, folder or zip
    options: TruthOptions = field(default_factory=TruthOptions)
    tally: Counter[str] = field(default_factory=Counter)  # see `TruthSet.tally`
    _json: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path | None:
        """Path of one file where it lies on disk as it is, None inside a zip."""
        if self.kind == "zip":
            return None
        return Path(self.source) if self.kind == "file" else Path(self.source) / name

    def subject(self, name: str) -> str:
        """Name one file of the bundle for an error line."""
        return self.source if self.kind == "file" else f"{self.source}/{name}"

    def ending(self, *suffixes: str) -> list[str]:
        """Names of the files with one of these suffixes."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """Names of the image files by their stem in composed Unicode."""
        names: dict[str, list[str]] = {}
        for name in self.ending(*SUFFIXES):
            names.setdefault(composed(PurePosixPath(name).stem), []).append(name)
        return names

    def read(self, name: str) -> bytes:
        """Bytes of one file."""
        data = self.reader(name)
        if not data:
            raise broken(self.subject(name), "0 bytes", "export or copy the file again")
        return data

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

    def rows(self, name: str) -> list[Record]:
        """Records of JSON (a list or one object), NDJSON or CSV, each with its place for errors."""
        subject = self.subject(name)
        if not self.head(name).startswith((b"{", b"[")):
            table = csv.DictReader(io.StringIO(self.text(name)))
            # A label with masks is longer than the usual 128 KiB.
            limit = csv.field_size_limit(1 << 28)
            try:
                return [Record(row, f"{subject} row {n}") for n, row in enumerate(table, 1)]
            except csv.Error as error:
                raise broken(subject, f"broken CSV ({error})") from error
            finally:
                csv.field_size_limit(limit)
        try:
            data = self.json(name)
        except AnnotationRefused:
            if not isinstance(self._first_line(name), dict):
                raise
            lines = enumerate(self.text(name).splitlines(), 1)
            filled = [(f"{subject} line {n}", line) for n, line in lines if line.strip()]
            return [Record.of(parse_json(line, where), where) for where, line in filled]
        if isinstance(data, list):
            return list(Record({"rows": data}, subject).records("rows", "row"))
        return [Record.of(data, subject)]

    def document(self) -> str | None:
        """Name of the one JSON or NDJSON file of the bundle, None where there are more or none."""
        if self.kind == "file":
            return self.names[0] if self.head(self.names[0])[:1] in (b"{", b"[") else None
        names = self.ending(".json", ".ndjson", ".jsonl")
        return names[0] if len(names) == 1 else None

    def peek(self) -> Any:
        """Parsed JSON of the one document for a sniffer; None without one or where it is broken."""
        name = self.document()
        with suppress(AnnotationRefused):  # the error is raised where the file is read
            return self.json(name) if name else None
        return None

    def first_row(self) -> dict[str, Any]:
        """First of `rows` for a sniffer, where a later one may be broken; empty without one."""
        data, name = self.peek(), self.document()
        data = self._first_line(name) if data is None and name else data
        row = data[0] if isinstance(data, list) and data else data
        return row if isinstance(row, dict) else {}

    def _first_line(self, name: str) -> Any:
        with suppress(ValueError, RecursionError):
            return json.loads(self.head(name, 1 << 24).split(b"\n")[0])
        return None

    def head(self, name: str, size: int = 512) -> bytes:
        """First bytes of one file for a sniffer, less byte order mark and white space."""
        path = self.path(name)
        try:
            with io.BytesIO(self.reader(name)) if path is None else path.open("rb") as stream:
                return stream.read(size).lstrip(b"\xef\xbb\xbf \t\r\n")
        except OSError:
            return b""


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
    """Open a file, folder or zip; the names of its files must break no terminal or report."""
    source = str(path)
    if path.is_dir():
        bundle = Bundle(source, _names(path), lambda name: _read_path(path / name), "folder")
    elif not path.is_file():
        held = "neither a file nor a folder" if path.exists() else "no such file or folder"
        raise broken(source, held, "check the path")
    else:
        bundle = Bundle(source, (path.name,), lambda _: _read_path(path), "file")
        with _readable(source), path.open("rb") as stream:
            head = stream.read(4)
        if not head:
            raise broken(source, "0 bytes", "export or copy the file again")
        if head not in (b"PK\x03\x04", b"PK\x05\x06"):
            return bundle
        archive = ZipReader(path, **ZIP_LIMITS, refusal=AnnotationRefused)
        bundle = Bundle(source, archive.names, archive.read, "zip")
    if not bundle.names:
        raise broken(source, f"an empty {bundle.kind}", "name the masks or labels")
    if len(bundle.names) > MAX_FILES:
        raise broken(source, f"more than {MAX_FILES} files", f"name a smaller {bundle.kind}")
    if odd := next((name for name in bundle.names if not printable(name)), None):
        raise broken(source, f"file name {odd!r:.60} is not plain UTF-8 text", "rename the file")
    return bundle


def _read_path(path: Path) -> bytes:
    with _readable(str(path)):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise broken(str(path), f"more than {MAX_FILE_BYTES >> 20} MiB", "split the export")
        return path.read_bytes()


def _names(path: Path) -> tuple[str, ...]:
    """The files below a folder, without hidden ones."""
    names: list[str] = []

    def refuse(error: OSError) -> None:
        raise error

    with _readable(str(path)):
        for folder, folders, files in os.walk(path, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
            base = Path(folder).relative_to(path)
            names += [(base / name).as_posix() for name in files if not name.startswith(".")]
            if len(names) > MAX_FILES:
                break
    return tuple(sorted(names))


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Refuse a file or folder for what the system says of it in the block."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise broken(str(error.filename or source), problem, "check its rights") from error
