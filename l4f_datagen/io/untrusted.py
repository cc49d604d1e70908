"""Zip files and YAML of strangers, checked before they are believed; nothing goes to the disk."""

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import yaml

from l4f_datagen.core.errors import InputRefused

FAILURES = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What zipfile raises on a bad member; RuntimeError for an unknown compression."""
SMALL_BYTES = 1 << 20  # a member that unpacks to no more is no bomb, whatever its ratio
MAX_DEPTH = 50  # a recipe has four levels
SHOWN_CHARACTERS = 80  # of a value in an error, which is one line


class ZipReader:
    """The files of a zip by their ``names`` (posix, sorted), without hidden ones and ``__MACOSX``.

    The zip stays open. What it may unpack to is checked for all members here: the bytes of one and
    of all together, and the ratio of unpacked to packed. ``refusal`` for no zip, or one with
    members that are encrypted, too large, named twice or outside the zip.
    """

    def __init__(
        self,
        path: Path,
        *,
        file_bytes: float = math.inf,
        total_bytes: float = math.inf,
        ratio: float = math.inf,
        refusal: type[InputRefused] = InputRefused,
    ) -> None:
        self.source, self.refusal = str(path), refusal
        try:
            self._archive = zipfile.ZipFile(path)
            infos = self._archive.infolist()
        except FAILURES as error:
            problem = f"is no zip file, or a broken one ({error})"
            raise refusal(self.source, problem, "export or copy it again") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        total = 0
        for info in infos:
            name, size = info.filename.replace("\\", "/"), info.file_size
            shown, parts = f"member {name!r:.60}", name.split("/")
            if not name or name.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in name:
                problem = f"{shown} lies outside the zip"
                raise refusal(self.source, problem, "do not trust this file")
            if info.is_dir() or any(p.startswith((".", "__MACOSX")) for p in parts):
                continue
            total += size
            is_bomb = size > SMALL_BYTES and size / max(info.compress_size, 1) > ratio
            if size > file_bytes or total > total_bytes or is_bomb:
                problem = f"{shown} unpacks to {size} bytes from {info.compress_size}"
                raise refusal(self.source, problem, "a zip bomb is not read")
            if info.flag_bits & 1:
                raise refusal(self.source, f"{shown} is encrypted", "unpack it first")
            if name in self._members:
                raise refusal(self.source, f"{shown} twice", "export the zip again")
            self._members[name] = info
        self.names = tuple(sorted(self._members))

    def size(self, name: str) -> int:
        """Unpacked bytes of a file, as the zip's directory says."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Bytes of a file; ``refusal`` where it cannot be unpacked or holds more than announced."""
        info, subject = self._members[name], f"{self.source}/{name}"
        try:
            with self._archive.open(info) as stream:
                data = stream.read(info.file_size + 1)
        except FAILURES as error:
            problem = f"cannot be unpacked ({error})"
            raise self.refusal(subject, problem, "export or copy the zip again") from error
        if len(data) > info.file_size:
            problem = "unpacks to more than its header says"
            raise self.refusal(subject, problem, "do not trust this file")
        return data


def plain_yaml(text: str) -> Any:
    """Read YAML: mappings, lists, text, numbers, booleans and null; nothing else.

    ValueError, one line of at most 200 characters, for what is not YAML, a key given twice, nested
    beyond reason, aliases (a few lines of which can unfold to gigabytes), or dates, sets and other
    tagged values.
    """
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("aliases such as *name are not read, write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # the parser's time grows with the square of the depth
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        _check_keys(yaml.compose(text, yaml.SafeLoader))
        return json.loads(json.dumps(yaml.safe_load(text), default=_refuse_value))
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error


def _check_keys(node: yaml.Node | None) -> None:
    """Refuse a key given twice; PyYAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            _check_keys(value)
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key that JSON has; refused when it is made
            if key.value in seen:
                name, line = key.value[:SHOWN_CHARACTERS], key.start_mark.line + 1
                raise ValueError(f"the key {name} is given twice, again in line {line}")
            seen.add(key.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)


def _refuse_value(value: Any) -> Any:
    kind = type(value).__name__
    raise ValueError(f"{str(value)[:SHOWN_CHARACTERS]} is a {kind} to YAML, quote it if it is text")
