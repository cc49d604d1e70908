"""The user's cache: where it is, and where a fetched file belongs in it."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: ``L4F_CACHE``, else ``l4f-datagen`` in the XDG cache folder."""
    if environ.get("L4F_CACHE"):
        return Path(environ["L4F_CACHE"]).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "l4f-datagen"


def target_path(name: str, cache_dir: Path | None = None) -> Path:
    """Return where a fetched file of that name belongs (``cache_dir`` None: the default cache).

    Raises:
        ValueError: the name is no plain file name.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"name must be a plain file name, got {name!r}")
    return (cache_dir or default_cache()) / "checkpoints" / name


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
