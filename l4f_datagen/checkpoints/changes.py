"""How values change on their way from a file into our networks: what happens to shape and values.

Shape and values are told apart so that shapes can be settled before a byte is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .expected import Shape


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        shape: shape in the file -> our shape; ValueError where it cannot be.
        values: tensor of the file's shape -> tensor of ours.
    """

    shape: Callable[[Shape], Shape]
    values: Callable[[Tensor], Tensor]


def _without_ones(count: int) -> Callable[[Shape], Shape]:
    def shape(sizes: Shape) -> Shape:
        if sizes[:count] != (1,) * count:
            raise ValueError(f"it should start with {count} of size 1")
        return sizes[count:]

    return shape


def _only_one(sizes: Shape) -> Shape:
    if set(sizes) - {1}:
        raise ValueError("it should be a single value")
    return ()


def _flat(sizes: Shape) -> Shape:
    wide = tuple(size for size in sizes if size != 1)
    if len(wide) > 1:
        raise ValueError("it should be a row of values")
    return wide or (1,)


def _permuted(*order: int) -> Callable[[Shape], Shape]:
    def shape(sizes: Shape) -> Shape:
        if len(sizes) != len(order):
            raise ValueError(f"it should have {len(order)} sizes")
        return tuple(sizes[k] for k in order)

    return shape


KEEP = Change(lambda shape: shape, lambda tensor: tensor)
DROP_FIRST = Change(_without_ones(1), lambda tensor: tensor[0])
DROP_TWO = Change(_without_ones(2), lambda tensor: tensor[0, 0])
SCALAR = Change(_only_one, lambda tensor: tensor.reshape(()))
FLATTEN = Change(_flat, lambda tensor: tensor.reshape(-1))
# TensorFlow stores dense layers as (in, out) and convolutions as (height, width, in, out).
TRANSPOSE = Change(_permuted(1, 0), lambda tensor: tensor.t())
KERNEL_LAST = Change(_permuted(3, 2, 0, 1), lambda tensor: tensor.permute(3, 2, 0, 1))
# Its up-sampling convolution is a true convolution, ours a transposed one: mirrored kernels.
KERNEL_LAST_MIRRORED = Change(
    _permuted(3, 2, 0, 1), lambda tensor: tensor.permute(3, 2, 0, 1).flip(2, 3)
)
# It adds the 1 of a style when it is used, our biases hold it.
PLUS_ONE = Change(lambda shape: shape, lambda tensor: tensor + 1)
