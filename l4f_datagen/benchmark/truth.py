"""Truth: what the masks are scored against.

For a toy domain a U-Net that learnt from renders with exact masks, the role BiSeNet and Detectron2
have in the paper; for any other domain a folder of masks the user brings.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.benchmark import supervised
from l4f_datagen.benchmark.bench import Bench, Block, Masks
from l4f_datagen.benchmark.images import blocks_of, read_block
from l4f_datagen.benchmark.mask_folder import MaskFolder
from l4f_datagen.core.errors import UsageError
from l4f_datagen.io.figures import save_png
from l4f_datagen.models.unet import UNet

logger = logging.getLogger(__name__)

FOLDER = "truth"
SEED = 0


@dataclass(frozen=True)
class Truth:
    """Masks of every picture.

    Attributes:
        masks: by key.
        digests: psi -> name of what the pictures of that psi are scored against.
        net: the network that drew them, None where they were given.
    """

    masks: MaskFolder
    digests: dict[float, str]
    net: UNet | None

    def tested(self, bench: Bench, psi: float) -> Iterator[tuple[Block, Masks, Masks]]:
        """Yield the pictures of one psi, their truth and what is not scored."""
        for draws in blocks_of(bench.draws(psi)):
            yield read_block(bench, draws), *self.masks.block(draws)


def check_truth(bench: Bench, given: Path | None) -> None:
    """Refuse, before anything long begins, a domain without truth.

    Raises:
        UsageError: there is none.
    """
    if given is None and not bench.is_toy:
        problem = f"nothing tells where the object is in pictures of {bench.recipe.domain}"
        remedy = (
            "give --truth DIR with a mask for every picture in images/ (--images-only writes "
            "them), drawn by hand or by a supervised network as in the paper"
        )
        raise UsageError("--truth", problem, remedy)


def open_truth(bench: Bench, psis: Sequence[float], given: Path | None) -> Truth:
    """Open the given masks, or train the U-Net and let it draw them into ``truth/masks``.

    Raises:
        InputRefused: a given mask that is missing, broken or of another size.
    """
    if given is not None:
        masks = MaskFolder(given, bench.size_hw)
        digests = {psi: masks.check(bench.draws(psi)) for psi in psis}
        for note in masks.notes():
            logger.info(note)
        return Truth(masks, digests, None)
    net = truth_net(bench)
    folder = bench.out / FOLDER / "masks"
    folder.mkdir(exist_ok=True)
    for psi in psis:
        for draws in blocks_of(bench.draws(psi)):
            paths = [folder / f"{draw.key}.png" for draw in draws]
            if all(path.exists() for path in paths):
                continue
            found = supervised.mask(net, read_block(bench, draws))
            for path, mask in zip(paths, found, strict=True):
                save_png(Image.fromarray(mask * np.uint8(255)), path)
    return Truth(MaskFolder(folder, bench.size_hw), dict.fromkeys(psis, net_name(bench)), net)


def truth_net(bench: Bench) -> UNet:
    """Train the U-Net that draws a toy domain's truth, or open it."""
    return supervised.learn_from_renders(bench, SEED, bench.out / FOLDER / "network")


def net_name(bench: Bench) -> str:
    """Name the pseudo-truth by all that decides it."""
    return digest_of([bench.recipe.domain, SEED, asdict(supervised.LESSONS)])


def renders(bench: Bench, number: int) -> list[tuple[Block, Masks, NDArray[np.bool_]]]:
    """Return renders no net has learnt from, with their exact masks, none left out."""
    scenes = supervised.exam(bench, number)
    masks = scenes.alphas > supervised.THRESHOLD
    return [(Block([], scenes.images), masks, np.zeros_like(masks))]


def digest_of(facts: object) -> str:
    """Name plain data by a hash."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
