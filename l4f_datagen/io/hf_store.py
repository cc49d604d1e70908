"""Photographs in datasets of the Hugging Face library, of the Hub or on disk."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import InputRefused, NetworkError
from l4f_datagen.io.download import is_offline
from l4f_datagen.io.photographs import Store


def is_saved_dataset(folder: Path) -> bool:
    """Whether ``save_to_disk`` of datasets wrote a folder."""
    return any((folder / f"dataset_{name}.json").exists() for name in ("info", "dict"))


def open_hf(path: str, offline: bool) -> Store:
    """The first image column of a dataset's ``train`` split, else of its first split.

    ``path`` is ``user/name`` (``hf://`` before it is allowed), a folder of Parquet files, or what
    ``save_to_disk`` wrote.
    """
    import datasets

    name = path.removeprefix("hf://")
    place = Path(name)
    try:
        with _quiet(offline=offline):
            if is_saved_dataset(place):
                loaded: Any = datasets.load_from_disk(name)
            else:
                loaded = datasets.load_dataset(name) if place.exists() else load_from_hub(name)
    except Exception as error:
        problem = f"cannot be opened ({' '.join(str(error).split())[:160]})"
        if isinstance(error, IndexError):  # what the library makes of no rows
            problem = "holds no rows"
        if place.exists():
            raise InputRefused(path, problem, "name a dataset with images") from error
        remedy = "check the name and the network"
        if offline or is_offline():
            problem = "is not in the cache, and the network is switched off"
            remedy = "open it once with the network on"
        raise NetworkError(path, problem, remedy) from error
    if isinstance(loaded, dict):
        loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
    column = next((k for k, v in loaded.features.items() if isinstance(v, datasets.Image)), None)
    if column is None:
        named = ", ".join(loaded.features)
        raise InputRefused(path, f"has no image column, only {named}", "name another dataset")
    rows = loaded.cast_column(column, datasets.Image(decode=False))

    def encoded(number: int) -> Path | bytes:
        value = rows[number][column]
        if value is None:
            raise InputRefused(f"{path}[{number}]", "has no image", "drop empty rows")
        data: bytes | None = value["bytes"]
        return Path(value["path"]) if data is None else data

    return Store(path, len(rows), lambda k: f"{path}[{k}]", encoded)


@lru_cache(maxsize=8)
def load_from_hub(name: str) -> Any:
    """Load a dataset by name, once a process: backgrounds are opened again for the previews."""
    import datasets

    return datasets.load_dataset(name)


@contextmanager
def _quiet(*, offline: bool) -> Iterator[None]:
    """Keep the libraries' logs and warnings off stderr, and with ``offline`` off the network."""
    import datasets
    import huggingface_hub

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    with ExitStack() as stack:
        for library in ("datasets", "huggingface_hub"):
            logger = logging.getLogger(library)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        # What HF_HUB_OFFLINE=1 sets. Both look here before each request; their arguments for it
        # (``local_files_only``) do not keep ``load_dataset`` from asking for a dataset's files.
        switches: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
        for switch in switches:
            stack.callback(setattr, switch, "HF_HUB_OFFLINE", switch.HF_HUB_OFFLINE)
            switch.HF_HUB_OFFLINE = switch.HF_HUB_OFFLINE or offline
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield
