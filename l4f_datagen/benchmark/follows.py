"""Whether scores without labels follow the truth: rank correlation over samples and snapshots."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from l4f_datagen.benchmark.alphas import alpha_part, open_given
from l4f_datagen.benchmark.bench import Bench, blocks_of
from l4f_datagen.benchmark.truth import Truth
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.rendering.probes import noise_iou
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.rendering.scores import measure_block
from l4f_datagen.scoring.image_score import confusion, mean_iou
from l4f_datagen.training.loop import AlphaTrainer
from l4f_datagen.training.run import pretrained, state_path
from l4f_datagen.training.selection import score_snapshots
from l4f_datagen.training.sources import SourceContext, open_sources

LARGER_IS_WORSE = ("num_components", "border_contact", "alpha_uncertainty")
FEWEST_SNAPSHOTS = 5
"""Ranks of fewer say nothing; ``--set alpha.training.snapshot_interval=5`` gives more."""
SNAPSHOT_IMAGES = 200
"""Not searched for: 45 snapshots take a few minutes of one core at 64 px."""


def follows_text(bench: Bench, truth: Truth) -> str:
    """Say how samples and snapshots are ordered by scores and by truth, as far as there are any."""
    return "\n\n".join(filter(None, (samples_text(bench, truth), snapshots_text(bench, truth))))


def samples_text(bench: Bench, truth: Truth) -> str:
    """Return the rank correlation of each sample's scores with the true IoU of its object.

    For the alpha network that the recipe names, if it does, at the largest psi. Scores that should
    fall with quality are turned round: what follows the truth is above 0.
    """
    if bench.recipe.alpha.weights is None:
        return ""
    psi = max(bench.config.psis)
    network = open_given(bench).to(bench.device)
    renderer = replace(bench.renderer, alpha=network, probes={"noise_iou": noise_iou})
    ious: list[float] = []
    columns: dict[str, list[float]] = defaultdict(list)
    for draws in blocks_of(bench.eval_draws(psi)):
        samples = renderer.render(draws)
        true, ignored = truth.masks.block(draws)
        for sample, right, ignore in zip(samples, true, ignored, strict=True):
            both, either = sample.mask & right & ~ignore, (sample.mask | right) & ~ignore
            ious.append(both.sum() / max(1, either.sum()))
        for scores in measure_block(samples):
            for name, value in scores.items():
                columns[name].append(value)
    head = f"Scores without labels against true IoU (Spearman, {len(ious):,} samples, psi {psi:g})"
    return _listed(head, correlations(columns, ious))


def snapshots_text(bench: Bench, truth: Truth) -> str:
    """Return the rank correlation of the snapshots' scores with the true mIoU of their masks.

    For each training seed of the recipe's own training with enough snapshots; the mean over seeds.
    Snapshots are those before self-training, masks are alpha > 0.5 and not refined, as the scores
    see them.
    """
    of_seeds: dict[str, list[float]] = defaultdict(list)
    counted = 0
    for seed in bench.config.training_seeds:
        columns, mious = _scored_snapshots(bench, truth, seed)
        counted += len(mious)
        for name, value in correlations(columns, mious).items():
            of_seeds[name].append(value)
    if not of_seeds:
        return ""
    head = f"Scores of snapshots against true mIoU (Spearman, mean over seeds, {counted} snapshots)"
    return _listed(head, {name: float(np.mean(values)) for name, values in of_seeds.items()})


def _scored_snapshots(
    bench: Bench, truth: Truth, seed: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Return the scores of a training's snapshots by name, and their true mIoU, if enough."""
    part = alpha_part(bench, "full", seed)
    path = state_path(bench.network_folder("full", seed))
    # Known before reals are opened, which may be many photographs.
    planned = math.ceil(part.training.steps / part.training.snapshot_interval)
    if planned < FEWEST_SNAPSHOTS or not path.exists():
        return {}, []
    crop, offline = bench.recipe.generator.crop, bench.config.offline
    sources = open_sources(SourceContext(part, bench.generator, crop, offline))
    own = pretrained(part, bench.checkpoint)
    trainer = AlphaTrainer(part, bench.generator, sources, pretrained=own)
    trainer.state.load(path)
    if len(trainer.state.snapshots) < FEWEST_SNAPSHOTS:  # it collapsed before
        return {}, []
    columns: dict[str, list[float]] = defaultdict(list)
    for score in score_snapshots(trainer.state, trainer.context()).values():
        for name, value in (asdict(score) | {"total": score.total}).items():
            columns[name].append(value)
    average = trainer.state.average
    network = AlphaNetwork(average.channels, average.resolutions).to(bench.device).eval()
    plain = replace(bench.renderer, refine="none", mask_threshold=0.5, alpha=network)
    mious = []
    for _, weights in sorted(trainer.state.snapshots.items()):
        network.load_state_dict(weights)
        mious.append(true_miou(plain, bench, truth))
    return columns, mious


def true_miou(renderer: Renderer, bench: Bench, truth: Truth) -> float:
    """Return the mIoU of a renderer's masks, pooled over the first images of the largest psi."""
    counts = np.zeros(4, np.int64)
    for draws in blocks_of(bench.eval_draws(max(bench.config.psis))[:SNAPSHOT_IMAGES]):
        true, ignored = truth.masks.block(draws)
        found = np.stack([sample.mask for sample in renderer.render(draws)])
        counts += confusion(true, found, ignored)
    return mean_iou(counts)


def correlations(
    scores: Mapping[str, Sequence[float] | NDArray[np.float64]],
    truth: Sequence[float] | NDArray[np.float64],
) -> dict[str, float]:
    """Spearman's rank correlation of each score with truth; none where either is constant."""
    found = {}
    for name, values in scores.items():
        if np.ptp(values) > 0 and np.ptp(truth) > 0:
            sign = -1 if name in LARGER_IS_WORSE else 1
            found[name] = round(sign * float(stats.spearmanr(values, truth).statistic), 4)
    return found


def _listed(head: str, found: Mapping[str, float]) -> str:
    ordered = sorted(found.items(), key=lambda of: -of[1])
    return "\n".join([head, *(f"  {name:18s} {value:+.2f}" for name, value in ordered)])
