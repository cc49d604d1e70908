"""Latents from a file, in place of drawn z: z, w or W+, a row a sample.

A .npy file, a .npz with an array ``w`` (NVIDIA's projector) or with a single one, or a file of
torch.save or safetensors that holds a single tensor. Nothing in a file is executed, and its size
is compared with what it announces before memory is taken.
"""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from l4f_datagen.checkpoints.byte_source import ByteSource, Span
from l4f_datagen.checkpoints.containers import ZIP_START, read_container, read_members
from l4f_datagen.checkpoints.tensors import StoredTensor
from l4f_datagen.core.errors import InputRefused
from l4f_datagen.models.generator import Generator, draw_z

logger = logging.getLogger(__name__)

NPY_START = b"\x93NUMPY"
MAX_BYTES = 4 * 2**30
MAX_HEADER = 10_000
READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
Z_DRAWS = 1000  # draws that give mean and deviation of w; the deviation is then known to 2 %
Z_LIKE = 0.1
"""How far mean and deviation of all values may be from 0 and 1 to look like z. The w of trained
networks have a mean of 0.2 to 0.6, because the mapping ends in a leaky ReLU."""
FAR = 1.5
"""Median distance from the mean of w, each value in deviations of mapped w. Six networks measured:
0.9 to 1.1 for w, 2.1 to 3.4 for z."""
SAVE = "save one float array with numpy.save or one tensor with torch.save"
UNPARSED = (SyntaxError, TokenError, RecursionError, MemoryError)
"""What Python's own parser, which NumPy gives a header to, raises on foreign text."""


@dataclass(frozen=True, eq=False)
class Latents:
    """The rows of a file."""

    path: str  # as the recipe names it
    # float32, finite: ``n dim`` (z or w), ``n 1 dim`` (the same) or ``n num_ws w_dim`` (W+).
    values: NDArray[np.float32]
    sha256: str  # of shape and values, whatever file holds them

    @property
    def rows(self) -> int:
        """How many latents there are."""
        return len(self.values)

    def take(self, seeds: Sequence[int]) -> NDArray[np.float32]:
        """Return the rows that the seeds name, in their order."""
        taken: NDArray[np.float32] = self.values[list(seeds)]
        return taken[:, 0] if taken.ndim == 3 and taken.shape[1] == 1 else taken

    def check(self, generator: Generator, space: str) -> None:
        """Check that the rows fit a generator; a warning where rows of w look like z.

        InputRefused for another width, another number of w in a W+ code, or an array that may be
        one W+ code or as many rows of w.
        """
        spec, shape = generator.spec, self.values.shape
        fitting: list[tuple[int, ...]] = [(spec.z_dim,)]
        if space == "w":
            fitting = [(spec.w_dim,), (spec.num_ws, spec.w_dim)]
            if shape == fitting[1]:
                rows, dim = shape
                problem = f"has shape {rows} x {dim}: one W+ code of this generator, or {rows} w"
                remedy = f"save it as 1 x {rows} x {dim} for one W+ code, or as {rows} x 1 x {dim}"
                raise InputRefused(self.path, problem, remedy)
        if shape[1:] not in (*fitting, (1, *fitting[0])):
            wanted = " or ".join(_shape(("n", *row)) for row in fitting)
            problem = f"has shape {_shape(shape)}, this generator takes {wanted} as {space}"
            raise InputRefused(self.path, problem, "give latents of this very generator")
        if space == "w" and _look_like_z(self.values, generator):
            problem = "the rows look like z (mean 0, deviation 1, far from the mean of w)"
            remedy = "if they are, give --set sampling.latent_space=z"
            logger.warning("%s: %s; %s", self.path, problem, remedy)


def open_latents(path: str) -> Latents:
    """Read a file of latents; a file that has not changed since is read once.

    InputRefused where it cannot be read, is no array of floats with two or three sizes, or holds
    nothing, NaN or infinities, or more than 4 GB.
    """
    place = Path(path).expanduser()
    with ByteSource(place) as source:  # says in words what is wrong with the path
        return _read(path, place, (source.size, source.stat.st_mtime_ns, source.stat.st_ino))


def _look_like_z(values: NDArray[np.float32], generator: Generator) -> bool:
    """Whether values are centred and of unit deviation, and far from where the mapping puts w."""
    if abs(values.mean()) > Z_LIKE or abs(values.std() - 1) > Z_LIKE:
        return False
    z = draw_z(range(Z_DRAWS), generator.spec.z_dim)
    with torch.no_grad():
        w = generator.mapping(torch.from_numpy(z).to(generator.w_avg.device)).cpu().numpy()
    mean, deviation = w.mean(axis=0), w.std(axis=0) + 1e-6
    distances = np.sqrt((((values - mean) / deviation) ** 2).mean(axis=-1))
    return bool(np.median(distances) > FAR)


@lru_cache(maxsize=2)
def _read(path: str, place: Path, stamp: tuple[int, ...]) -> Latents:
    with ByteSource(place) as source:
        array = source.whole
        start = array.head(len(NPY_START))
        if start.startswith(ZIP_START):
            array = _array_of_npz(array) or array
            start = array.head(len(NPY_START))
        if start == NPY_START:
            values = _read_npy(array)
        else:
            held = read_container(source).loaded
            if isinstance(held, dict) and len(held) == 1:
                [held] = held.values()
            if not isinstance(held, StoredTensor):
                raise source.refuse("holds no single tensor", SAVE)
            _check_size(source, held.shape)
            held.check("the tensor")
            values = held.read().numpy()
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise InputRefused(path, f"row {row} holds NaN or infinity", "make the latents again")
    digest = hashlib.sha256(_shape(values.shape).encode())
    digest.update(values.astype("<f4", copy=False).data)
    return Latents(path, values, digest.hexdigest())


def _array_of_npz(archive: Span) -> Span | None:
    """Return the array of a .npz that holds latents: ``w``, or the only one; None for others."""
    members = read_members(archive, "save it with numpy.savez, not savez_compressed")
    arrays = [name for name in members if name.endswith(".npy")]
    if len(arrays) != len(members):
        return None
    if "w.npy" not in arrays and len(arrays) != 1:
        shown = ", ".join(sorted(name.removesuffix(".npy") for name in arrays)[:8])[:200]
        raise archive.source.refuse(f"holds the arrays {shown}, and none is named w", SAVE)
    return members["w.npy" if "w.npy" in arrays else arrays[0]]


def _read_npy(array: Span) -> NDArray[np.float32]:
    source = array.source
    with source.path.open("rb") as file:
        file.seek(array.start)
        try:
            read_header = READ_HEADER[npy.read_magic(file)]
            shape, in_columns, dtype = read_header(file, max_header_size=MAX_HEADER)
            if any(type(size) is not int for size in shape):  # to NumPy True is a size too
                raise TypeError(shape)
        except (ValueError, KeyError, TypeError, *UNPARSED) as error:
            raise source.refuse("has no readable .npy header", SAVE) from error
        if dtype.kind != "f" or dtype.itemsize > 8:
            raise source.refuse(f"holds {dtype}, expected floating point", SAVE)
        _check_size(source, shape)
        start = file.tell()
    announced = math.prod(shape) * dtype.itemsize
    held = array.start + array.length - start
    if held != announced:
        raise source.refuse(f"announces {announced} bytes of values, {held} are there")
    order: Literal["F", "C"] = "F" if in_columns else "C"
    stored = np.memmap(source.path, dtype, "r", start, shape, order)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found as infinity
        return np.array(stored, dtype=np.float32, order="C")


def _check_size(source: ByteSource, shape: Sequence[int]) -> None:
    if len(shape) not in (2, 3) or min(shape) < 1:
        wanted = "n x dim or n x num_ws x w_dim, none of them 0"
        raise source.refuse(f"has shape {_shape(shape)}, expected {wanted}", SAVE)
    size = math.prod(shape) * 4  # as float32
    if size > MAX_BYTES:
        problem = f"holds {size / 2**30:.1f} GB of latents, at most 4 are taken"
        raise source.refuse(problem, "cut it in several files, one a dataset")


def _shape(sizes: Sequence[object]) -> str:
    return " x ".join(map(str, sizes)) or "()"
