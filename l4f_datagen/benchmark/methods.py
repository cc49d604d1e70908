"""Methods: the table of all that can be compared, and which of them are."""

import difflib
import logging
from collections.abc import Sequence

from l4f_datagen.benchmark.alphas import ALPHAS
from l4f_datagen.benchmark.bench import Bench, Method
from l4f_datagen.benchmark.rivals import RIVALS
from l4f_datagen.benchmark.supervised import SUPERVISED
from l4f_datagen.benchmark.taught import TAUGHT_METHODS
from l4f_datagen.core.errors import UsageError

logger = logging.getLogger(__name__)

METHODS: dict[str, Method] = ALPHAS | RIVALS | SUPERVISED | TAUGHT_METHODS


def check_names(names: Sequence[str]) -> None:
    """Refuse what no method is called.

    Raises:
        UsageError: an unknown name, or one named twice.
    """
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(METHODS)}"
            raise UsageError(f"--methods {name}", "no such method", remedy)
        if list(names).count(name) > 1:
            raise UsageError(f"--methods {name}", "is named twice", "name it once")


def choose_methods(bench: Bench, names: Sequence[str] | None) -> dict[str, Method]:
    """Return the methods to compare: those named, or all that can run here, the others said.

    Raises:
        UsageError: a method is named that cannot run here.
    """
    if names is not None:
        for name in names:
            lacking = METHODS[name].lacking(bench)
            if lacking:
                raise UsageError(f"--methods {name}", lacking, "or leave it out")
        return {name: METHODS[name] for name in names}
    chosen = {}
    for name, method in METHODS.items():
        lacking, same_as = method.lacking(bench), method.same_as(bench)
        if lacking:
            logger.info(f"left out: {name} {lacking}")
        elif same_as:
            logger.info(f"left out: {name} is what {same_as} does in this recipe")
        else:
            chosen[name] = method
    return chosen
