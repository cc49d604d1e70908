"""Pictures of a Hugging Face dataset: by name on the Hub, or a folder on disk."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.alpha.stores import fit_square
from l4f_datagen.errors import InputRefused, NetworkError


class HfDataset:
    """The first image column of a dataset's ``train`` split (else of its first split).

    Args:
        path: ``user/name`` (``hf://`` before it is allowed), a folder of Parquet files, or what
            ``save_to_disk`` wrote.
        side: of the canvas.

    Raises:
        NetworkError: the Hub cannot be reached or does not have it.
        InputRefused: no dataset, or one without an image column.
    """

    def __init__(self, path: str, side: int) -> None:
        import datasets

        self.path, self.side = path, side
        name = path.removeprefix("hf://")
        place = Path(name)
        try:
            if (place / "dataset_info.json").exists() or (place / "dataset_dict.json").exists():
                loaded: Any = datasets.load_from_disk(name)
            else:
                loaded = datasets.load_dataset(name)
        except Exception as error:
            problem = f"cannot be opened ({' '.join(str(error).split())[:160]})"
            if isinstance(error, IndexError):  # what the library makes of no rows
                problem = "holds no rows"
            if place.exists():
                raise InputRefused(path, problem, "name a dataset with images") from error
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
        return fit_square(io.BytesIO(value["bytes"]), self.side, subject)
