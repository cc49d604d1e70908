"""Truth: what the masks are scored against, and folders of masks named like the images.

For a toy domain a U-Net that was trained on renders with exact masks, the role of BiSeNet and
Detectron2 in the paper; for any other domain a folder of masks that the user brings.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from l4f_datagen.annotations import TruthItem, TruthMask, load_annotations
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared, blocks_of
from l4f_datagen.benchmark.supervised import TRUTH, mask, truth_name, truth_net
from l4f_datagen.core.errors import AnnotationRefused, InputRefused, UsageError
from l4f_datagen.io.figures import save_png
from l4f_datagen.models.unet import UNet
from l4f_datagen.rendering.plan import Draw

logger = logging.getLogger(__name__)


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
