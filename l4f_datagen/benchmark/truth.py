"""Truth: what the masks are scored against, folders of masks, and whether scores follow it.

For a toy domain a U-Net that was trained on renders with exact masks, the role of BiSeNet and
Detectron2 in the paper; for any other domain a folder of masks that the user brings. Scores without
labels follow the truth as far as they order samples and snapshots like it: rank correlation.
"""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from l4f_datagen.annotations import TruthItem, TruthMask, load_annotations
from l4f_datagen.benchmark.alphas import alpha_part, open_given
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, blocks_of
from l4f_datagen.benchmark.supervised import TRUTH, mask, truth_name, truth_net
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.io.figures import save_png
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.unet import UNet
from l4f_datagen.rendering.filters import measure_block
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.probes import noise_iou
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.scoring.image_score import confusion, mean_iou
from l4f_datagen.training.loop import AlphaTrainer
from l4f_datagen.training.run import pretrained, state_path
from l4f_datagen.training.selection import score_snapshots
from l4f_datagen.training.sources import SourceContext, open_sources

logger = logging.getLogger(__name__)

LARGER_IS_WORSE = ("num_components", "border_contact", "alpha_uncertainty")
FEWEST_SNAPSHOTS = 5
"""Ranks of fewer say nothing; ``--set alpha.training.snapshot_interval=5`` gives more."""
SNAPSHOT_IMAGES = 200
"""Not searched for: 45 snapshots take a few minutes of one core at 64 px."""


class MaskFolder:
    """Masks by key, of images of one size, from ``KEY.png`` or any export that ``validate`` reads.

    ``soft``: grey levels are alpha, above the middle is object; otherwise the plain rules hold.
    """

    def __init__(self, path: Path, size_hw: tuple[int, int], *, soft: bool = False) -> None:
        self.path, self.size_hw, self.soft = path, size_hw, soft
        self.items: dict[str, TruthItem] = {}
        with self._remedy_for_benchmark():
            self.opened = load_annotations(path, mask_value="soft" if soft else None)
        for item in self.opened:
            if item.stem in self.items:
                both = f"{self.items[item.stem].name}, {item.name}"
                problem = f"holds two masks of {item.stem}: {both}"
                raise InputRefused(str(path), problem, "keep one of them")
            self.items[item.stem] = item

    def digests(self, bench: Bench) -> dict[float, str]:
        """Read every mask once, log what was cut or ignored, and return psi -> digest of the masks.

        A mask that is missing, broken or of another size is refused, and so are empty ones alone.
        """
        found = {psi: self._digest(bench.eval_draws(psi)) for psi in bench.config.psis}
        for note in self.opened.notes():
            logger.info(f"{self.path}: {note}")
        return found

    def _digest(self, draws: Sequence[Draw]) -> str:
        missing = [draw.key for draw in draws if draw.key not in self.items]
        if missing:
            problem = f"lacks {len(missing):,} of {len(draws):,} masks, the first {missing[0]}.png"
            remedy = "make one for every image in the benchmark's images/ (--images-only)"
            raise InputRefused(str(self.path), problem, remedy)
        digest, area_px = hashlib.sha256(), 0
        for truth in (self.read(draw.key) for draw in draws):
            area_px += int(truth.mask.sum())
            for plane in (truth.mask, truth.ignore):
                if plane is not None:
                    digest.update(np.packbits(plane).tobytes())
        if not area_px:
            problem = f"none of {len(draws):,} masks has an object"
            raise InputRefused(str(self.path), problem, "write the object as 255, the rest as 0")
        return digest.hexdigest()

    def read(self, key: str) -> TruthMask:
        """Decode one mask; errors as ``digests``."""
        with self._remedy_for_benchmark():
            truth = self.items[key].load(self.size_hw)
        if truth.mask.shape != self.size_hw:
            (height, width), (wanted_h, wanted_w) = truth.mask.shape, self.size_hw
            problem = f"is {width} x {height} pixels, its image {wanted_w} x {wanted_h}"
            raise InputRefused(f"{self.path}: {key}", problem, "make masks of the images' size")
        return truth

    @contextmanager
    def _remedy_for_benchmark(self) -> Iterator[None]:
        """Replace remedies that name options of ``validate``, which ``benchmark`` lacks."""
        try:
            yield
        except AnnotationRefused as error:
            if "--" not in error.remedy:
                raise
            remedy = "write masks as images, the object 255, the rest 0"
            remedy += " (rembg: -om)" if self.soft else ""
            raise AnnotationRefused(error.subject, error.problem, remedy) from error

    def block(self, draws: Sequence[Draw]) -> tuple[Masks, Masks]:
        """Return masks and ignored pixels, bool ``n h w`` each."""
        read = [self.read(draw.key) for draw in draws]
        none = np.zeros(self.size_hw, np.bool_)
        ignored = [none if truth.ignore is None else truth.ignore for truth in read]
        return np.stack([truth.mask for truth in read]), np.stack(ignored)


@dataclass(frozen=True)
class Truth:
    """Masks of every image."""

    masks: MaskFolder
    digests: dict[float, str]  # psi -> name of what the images of that psi are scored against
    net: UNet | None  # the network that drew them, None if they were given

    def tested(self, bench: Bench, psi: float) -> Iterator[tuple[Block, Masks, Masks]]:
        """Yield the images of one psi, their truth and their ignored pixels."""
        for draws in blocks_of(bench.eval_draws(psi)):
            yield bench.read_block(draws), *self.masks.block(draws)


def check_truth(bench: Bench) -> None:
    """Refuse a domain without truth before any long work."""
    if bench.config.truth is None and not bench.is_toy:
        problem = f"nothing says where the object is in images of {bench.recipe.domain}"
        given = "give --truth DIR with a mask for every image that --images-only writes"
        remedy = f"{given}, drawn by hand or by a supervised network as in the paper"
        raise UsageError("--truth", problem, remedy)


def open_truth(bench: Bench) -> Truth:
    """Open the given masks, or train the U-Net and let it draw them into ``truth/masks``."""
    if bench.config.truth is not None:
        masks = MaskFolder(bench.config.truth, bench.size_hw)
        return Truth(masks, masks.digests(bench), None)
    net = truth_net(bench)
    folder = bench.config.out / TRUTH / "masks"
    folder.mkdir(exist_ok=True)
    for psi in bench.config.psis:
        for draws in blocks_of(bench.eval_draws(psi)):
            paths = [folder / f"{draw.key}.png" for draw in draws]
            if all(path.exists() for path in paths):
                continue
            for path, found in zip(paths, mask(net, bench.read_block(draws)), strict=True):
                save_png(Image.fromarray(found * np.uint8(255)), path)
    digests = dict.fromkeys(bench.config.psis, truth_name(bench))
    return Truth(MaskFolder(folder, bench.size_hw), digests, net)


def external_method(bench: Bench, path: Path) -> Method:
    """Turn an external tool's masks into a line of the tables; errors as ``MaskFolder``."""
    masks = MaskFolder(path, bench.size_hw, soft=True)
    digest = " ".join(masks.digests(bench).values())
    prepared = Prepared(lambda block: masks.block(block.draws)[0])
    return Method(lambda *_: prepared, lambda _: digest, seeded=False)


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
