"""Click parameter types: text of the command line to checked values."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from l4f_datagen.core.formats import order_formats


class PsiList(click.ParamType[tuple[float, ...]]):
    """Truncations such as ``0.7`` or ``0.5,0.7,1.0``, with shares as in ``0.5:1,0.7:2``."""

    name = "psi"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return psi in turn, a psi with share k standing k times."""
        if not isinstance(value, str):
            return tuple(value)
        turns: list[float] = []
        for part in value.split(","):
            text, _, share = part.partition(":")
            try:
                psi, times = float(text), int(share or 1)
            except ValueError:
                self.fail(f"expected numbers such as 0.5,0.7 or 0.5:1,0.7:2, got {value!r}")
            if not (math.isfinite(psi) and 0 <= psi <= 2):
                self.fail(f"psi must be in [0, 2], got {text}")
            if not 1 <= times <= 1000:
                self.fail(f"a share must be from 1 to 1000, got {share}")
            if psi in turns:
                self.fail(f"psi {text} is named twice; give it a share instead, {text}:2")
            turns.extend([psi] * times)
        return _lowest_terms(turns)


def _lowest_terms(turns: Sequence[float]) -> tuple[float, ...]:
    """Reduce shares: 2:4 means the same as 1:2 and must give the same plan."""
    counts = {psi: turns.count(psi) for psi in turns}
    common = math.gcd(*counts.values())
    return tuple(psi for psi, count in counts.items() for _ in range(count // common))


class FormatList(click.ParamType[tuple[str, ...]]):
    """Names such as ``png,coco,hf``; what one requires, the recipe checks."""

    name = "formats"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names in the table's order."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            return order_formats([name.strip() for name in value.split(",")])
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Place(click.ParamType["Path | str"]):
    """A folder, or the URL of one, such as ``s3://bucket/cars``."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Path | str":
        """Return a URL as text and anything else as a path."""
        return value if isinstance(value, Path) or "://" in value else Path(value)


PLACE = Place()
PSI_LIST = PsiList()
FORMAT_LIST = FormatList()
