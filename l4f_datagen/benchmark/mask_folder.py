"""Folders of masks named as the pictures: the truth, and what tools from outside have made."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.annotations import TruthItem, TruthMask, load_annotations
from l4f_datagen.benchmark.bench import Bench, Block, Masks, Method, Prepared
from l4f_datagen.core.errors import AnnotationRefused, InputRefused
from l4f_datagen.rendering.plan import Draw


class MaskFolder:
    """Masks by key.

    Args:
        path: folder of pictures ``KEY.png``, or any export that `validate` reads.
        size_hw: of the pictures they belong to, px.
        soft: grey levels are alpha, above the middle is object; otherwise the plain rules hold.

    Raises:
        AnnotationRefused: it cannot be read.
    """

    def __init__(self, path: Path, size_hw: tuple[int, int], *, soft: bool = False) -> None:
        self.path, self.size_hw, self.soft = path, size_hw, soft
        self.items: dict[str, TruthItem] = {}
        with self._own_remedy():
            self.opened = load_annotations(path, mask_value="soft" if soft else None)
        for item in self.opened:
            if item.stem in self.items:
                problem = (
                    f"holds two masks of {item.stem}: {self.items[item.stem].name}, {item.name}"
                )
                raise InputRefused(str(path), problem, "keep one of them")
            self.items[item.stem] = item

    def check(self, draws: Sequence[Draw]) -> str:
        """Read every mask once, before any training begins; return a digest of them.

        Raises:
            InputRefused: a mask is missing, broken or of another size, or all of them are empty.
        """
        missing = [draw.key for draw in draws if draw.key not in self.items]
        if missing:
            problem = f"lacks {len(missing):,} of {len(draws):,} masks, the first {missing[0]}.png"
            remedy = "make one of every picture in the benchmark's images/ (--images-only)"
            raise InputRefused(str(self.path), problem, remedy)
        digest, area_px = hashlib.sha256(), 0
        for draw in draws:
            truth = self.read(draw.key)
            area_px += int(truth.mask.sum())
            digest.update(np.packbits(truth.mask).tobytes())
            if truth.ignore is not None:
                digest.update(np.packbits(truth.ignore).tobytes())
        if not area_px:
            problem = f"none of {len(draws):,} masks has an object"
            raise InputRefused(str(self.path), problem, "write the object as 255, the rest as 0")
        return digest.hexdigest()

    def notes(self) -> list[str]:
        """Say what was cut or not used in the masks read so far."""
        return [f"{self.path}: {note}" for note in self.opened.notes()]

    def read(self, key: str) -> TruthMask:
        """Decode one mask; errors as ``check``."""
        with self._own_remedy():
            truth = self.items[key].load(self.size_hw)
        if truth.mask.shape != self.size_hw:
            (height, width), (wanted_h, wanted_w) = truth.mask.shape, self.size_hw
            problem = f"is {width} x {height} pixels, its picture {wanted_w} x {wanted_h}"
            raise InputRefused(f"{self.path}: {key}", problem, "make masks of the pictures' size")
        return truth

    @contextmanager
    def _own_remedy(self) -> Iterator[None]:
        """Say what helps here: readers name flags of `validate`, a benchmark has none of them."""
        try:
            yield
        except AnnotationRefused as error:
            if "--" not in error.remedy:
                raise
            remedy = "write masks as pictures, the object 255, the rest 0"
            remedy += " (rembg: -om)" if self.soft else ""
            raise AnnotationRefused(error.subject, error.problem, remedy) from error

    def block(self, draws: Sequence[Draw]) -> tuple[Masks, NDArray[np.bool_]]:
        """Return masks and what is not to be scored, bool ``n h w`` each."""
        read = [self.read(draw.key) for draw in draws]
        nothing = np.zeros(self.size_hw, np.bool_)
        ignored = [nothing if truth.ignore is None else truth.ignore for truth in read]
        return np.stack([truth.mask for truth in read]), np.stack(ignored)


def outside_method(path: Path, digest: str) -> Method:
    """Turn a folder of masks into a line of the tables; ``digest`` names what they are."""

    def prepare(bench: Bench, seed: int) -> Prepared:
        folder = MaskFolder(path, bench.size_hw, soft=True)

        def label(block: Block) -> Masks:
            return folder.block(block.draws)[0]

        return Prepared(label)

    return Method(f"masks in {path}", prepare, lambda bench: digest, seeded=False)
