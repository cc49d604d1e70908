"""Class-conditional mapping networks with the class fixed: exactly an unconditional one.

The first layer sees [normalised z, normalised embedding of the class]. For a fixed class its
second part is a constant, so it moves into the bias, and the weight keeps the columns of z:
W [z; e] / sqrt(nz + ne) + b = W_z' z / sqrt(nz) + b', with W_z' = W_z sqrt(nz / (nz + ne)) and
b' = b + W_e e / sqrt(nz + ne). (The learning rate multiplier scales weight and bias alike.)
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from l4f_datagen.models.layers import EPS

from .assembly import Entries, Entry
from .changes import Change
from .expected import Shape
from .storage import ByteSource, StoredTensor

WEIGHT, BIAS = "mapping.fc.0.weight", "mapping.fc.0.bias"


def fold_class(
    source: ByteSource,
    entries: Entries,
    embedding: Mapping[str, Entry],
    class_index: int | None,
) -> Entries:
    """Return entries of the unconditional network that one class is.

    Args:
        source: the file.
        entries: our key -> entry; the first mapping layer still sees the class.
        embedding: weight and bias of the layer that embeds a class.
        class_index: the class, from 0.

    Raises:
        CheckpointRefused: no class was chosen, there is no such class, or layers do not fit.
    """
    if set(embedding) != {"weight", "bias"} or WEIGHT not in entries or BIAS not in entries:
        raise source.refuse("has classes (c_dim > 0) but lacks layers for them", "get it again")
    first, bias = entries[WEIGHT].stored, entries[BIAS].stored
    embed, embed_bias = embedding["weight"].stored, embedding["bias"].stored
    for entry in (entries[WEIGHT], entries[BIAS], *embedding.values()):
        entry.stored.check(entry.name)
    if len(first.shape) != 2 or len(embed.shape) != 2:
        raise source.refuse("has a class embedding of unknown shape", "get it again")
    width, count = embed.shape
    z_dim = first.shape[1] - width
    if z_dim < 1 or embed_bias.shape != (width,) or bias.shape != first.shape[:1]:
        raise source.refuse("has a class embedding that does not fit", "get it again")
    if class_index is None or not 0 <= class_index < count:
        chosen = "" if class_index is None else f", class {class_index} is none of them"
        raise source.refuse(
            f"is class-conditional with {count} classes (c_dim = {count}){chosen}",
            f"choose one with --class 0 to --class {count - 1}",
        )
    index = class_index

    def columns(shape: Shape) -> Shape:
        return (shape[0], z_dim)

    def of_z(weight: Tensor) -> Tensor:
        return weight[:, :z_dim] * math.sqrt(z_dim / (z_dim + width))

    def with_class(values: Tensor) -> Tensor:
        return values + _class_term(first, embed, embed_bias, index)

    return {
        **entries,
        WEIGHT: replace(entries[WEIGHT], change=Change(columns, of_z)),
        BIAS: replace(entries[BIAS], change=Change(lambda shape: shape, with_class)),
    }


def _class_term(
    first: StoredTensor, embed: StoredTensor, embed_bias: StoredTensor, index: int
) -> Tensor:
    """Return W_e e / sqrt(nz + ne) for one class."""
    width, count = embed.shape
    # A fully connected layer with equalised learning rate on a one-hot vector.
    embedded = embed.read()[:, index] / math.sqrt(count) + embed_bias.read()
    embedded = embedded * (embedded.square().mean() + EPS).rsqrt()
    weight = first.read()
    return torch.mv(weight[:, weight.shape[1] - width :], embedded) / math.sqrt(weight.shape[1])
