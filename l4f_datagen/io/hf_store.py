"""Pictures of a Hugging Face dataset: by name on the Hub, or a folder on disk."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import InputRefused, NetworkError
from l4f_datagen.io.download import is_offline
from l4f_datagen.io.photo import fit_square


@lru_cache(maxsize=8)
def load_from_hub(name: str) -> Any:
    """Load a dataset by name, from the libraries' cache where it has been fetched before."""
    # Once a process: a run opens its backgrounds again for the previews.
    import datasets

    return datasets.load_dataset(name)


@contextmanager
def hushed(*, offline: bool) -> Iterator[None]:
    """Keep the libraries' logs and warnings off stderr, and with ``offline`` off the network."""
    import datasets
    import huggingface_hub

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    loggers = [logging.getLogger(library) for library in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    # What HF_HUB_OFFLINE=1 sets. Both look here before each request; their arguments for it
    # (``local_files_only``) do not keep ``load_dataset`` from asking the Hub for a dataset's files.
    switches = [datasets.config, huggingface_hub.constants]
    were = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        for switch in switches:
            switch.HF_HUB_OFFLINE = switch.HF_HUB_OFFLINE or offline
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for switch, was in zip(switches, were, strict=True):
            switch.HF_HUB_OFFLINE = was


class HfDataset:
    """The first image column of a dataset's ``train`` split (else of its first split).

    Args:
        path: ``user/name`` (``hf://`` before it is allowed), a folder of Parquet files, or what
            ``save_to_disk`` wrote.
        side: of the canvas.
        offline: take a dataset of the Hub from the cache alone, as with ``HF_HUB_OFFLINE``.

    Raises:
        NetworkError: the Hub cannot be reached, must not be or does not have it.
        InputRefused: no dataset, or one without an image column.
    """

    def __init__(self, path: str, side: int, *, offline: bool = False) -> None:
        import datasets

        self.path, self.side = path, side
        name = path.removeprefix("hf://")
        place = Path(name)
        marks = [place / "dataset_info.json", place / "dataset_dict.json"]
        try:
            with hushed(offline=offline):
                if any(mark.exists() for mark in marks):
                    loaded: Any = datasets.load_from_disk(name)
                elif place.exists():
                    loaded = datasets.load_dataset(name)
                else:
                    loaded = load_from_hub(name)
        except Exception as error:
            problem = f"cannot be opened ({' '.join(str(error).split())[:160]})"
            if isinstance(error, IndexError):  # what the library makes of no rows
                problem = "holds no rows"
            if place.exists():
                raise InputRefused(path, problem, "name a dataset with images") from error
            if offline or is_offline():
                problem = "is not in the cache, and the network is switched off"
                raise NetworkError(path, problem, "open it once with the network on") from error
            raise NetworkError(path, problem, "check the name and the network") from error
        if isinstance(loaded, dict):
            loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
        columns = [k for k, v in loaded.features.items() if isinstance(v, datasets.Image)]
        if not columns:
            named = ", ".join(loaded.features)
            raise InputRefused(path, f"has no image column, only {named}", "name another dataset")
        self.column = columns[0]
        self.rows = loaded.cast_column(self.column, datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return one picture, ``side side 3``."""
        value = self.rows[number][self.column]
        subject = f"{self.path}[{number}]"
        if value is None:
            raise InputRefused(subject, "has no image", "drop empty rows")
        if value["bytes"] is None:
            return fit_square(Path(value["path"]), self.side, subject)
        return fit_square(value["bytes"], self.side, subject)
