"""Whether scores that need no labels follow the true IoU: rank correlation over samples."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from l4f_datagen.benchmark.alphas import open_given
from l4f_datagen.benchmark.bench import Bench, blocks_of
from l4f_datagen.benchmark.truth import Truth
from l4f_datagen.rendering.probes import noise_iou
from l4f_datagen.rendering.scores import measure_block

LARGER_IS_WORSE = ("num_components", "border_contact", "alpha_uncertainty")


def follows_text(bench: Bench, truth: Truth) -> str:
    """Return the rank correlation of each score with the true IoU of the object.

    For the alpha network that the recipe names, which masks as ``make`` does, at the largest psi.
    Scores that should fall with quality are turned round: what follows the truth is above 0.
    Nothing is returned where the recipe names no alpha network.
    """
    if bench.recipe.alpha.weights is None:
        return ""
    psi = max(bench.config.psis)
    network = open_given(bench).to(bench.generator.w_avg.device)
    renderer = replace(bench.renderer, alpha=network, probes={"noise_iou": noise_iou})
    ious: list[float] = []
    columns: dict[str, list[float]] = {}
    for draws in blocks_of(bench.eval_draws(psi)):
        samples = renderer.render(draws)
        true, ignored = truth.masks.block(draws)
        for sample, mask, ignore in zip(samples, true, ignored, strict=True):
            both, either = sample.mask & mask & ~ignore, (sample.mask | mask) & ~ignore
            ious.append(both.sum() / max(1, either.sum()))
        for scores in measure_block(samples):
            for name, value in scores.items():
                columns.setdefault(name, []).append(value)
    found = correlations({name: np.array(values) for name, values in columns.items()}, ious)
    lines = [f"  {name:18s} {value:+.2f}" for name, value in found.items()]
    head = f"Scores without labels against true IoU (Spearman, {len(ious):,} samples, psi {psi:g})"
    return "\n".join([head, *lines])


def correlations(
    scores: Mapping[str, NDArray[np.float64]], ious: NDArray[np.float64] | list[float]
) -> dict[str, float]:
    """Spearman's rank correlation of each score with IoU, highest first; constants are left out.

    >>> correlations({"noise_iou": np.array([1.0, 2, 3])}, [1, 2, 3])
    {'noise_iou': 1.0}
    """
    found = {}
    for name, values in scores.items():
        if np.ptp(values) > 0 and np.ptp(ious) > 0:
            sign = -1 if name in LARGER_IS_WORSE else 1
            found[name] = round(sign * float(stats.spearmanr(values, ious).statistic), 4)
    return dict(sorted(found.items(), key=lambda of: -of[1]))
