"""StyleGAN2 networks of NVIDIA's PyTorch codes (stylegan2-ada-pytorch, stylegan3) as modules.

A network is a tree of objects with parameters, buffers and attributes; the source text that comes
with each is dropped unread. The key names are facts of the format; the code is ours.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from l4f_datagen.models.layers import EPS

from .byte_source import ByteSource
from .shapes import SUPPORTED, agreed_clamp, check_options
from .stand_ins import ModuleRecord
from .state_dicts import discriminator_places, nvlabs_rules, refuse_other_codes
from .tensors import Change, Entries, Entry, StoredTensor, rename, rules_of

# A 1024 px discriminator, the largest network, has 40 modules, four deep.
MAX_MODULES = 2000
MAX_DEPTH = 8
MAX_NAME = 100  # characters; the longest there has 15

# What attributes of the modules must be, where a file has them: our layers have these built in.
FIXED: tuple[tuple[str, str, object], ...] = (
    (r"synthesis\.b\d+", "architecture", "skip"),
    (r"b\d+", "architecture", "resnet"),
    (r".*\bconv[01]|mapping\.fc\d+", "activation", "lrelu"),
    (r".*\baffine", "activation", "linear"),
    (r".*\bconv[01]", "use_noise", True),
    (r"synthesis\.b\d+\.conv0", "up", 2),
    (r"synthesis\.b\d+\.conv1", "up", 1),
    (r".*\baffine", "bias_gain", 1),
    (r"mapping\.fc\d+", "bias_gain", 0.01),  # the learning rate multiplier
    (r"b4\.mbstd", "group_size", 4),
    (r"b4\.mbstd", "num_channels", 1),
)


class Tree(NamedTuple):
    """A network taken apart: dotted names -> tensors, and -> attributes of each module."""

    tensors: dict[str, StoredTensor]
    modules: dict[str, Mapping[object, object]]


def take_apart(source: ByteSource, root: ModuleRecord, name: str) -> Tree:
    """Take the module apart that a file holds under ``name``."""
    tree = Tree({}, {})
    whole: object = root
    while isinstance(whole, ModuleRecord) and whole.name.endswith("DataParallel"):
        inside = whole.state.get("_modules") if isinstance(whole.state, dict) else None
        whole = inside.get("module") if isinstance(inside, dict) else None
    waiting: list[tuple[str, object]] = [("", whole)]
    while waiting:
        place, module = waiting.pop()
        state = module.state if isinstance(module, ModuleRecord) else None
        too_large = len(tree.modules) > MAX_MODULES or place.count(".") > MAX_DEPTH
        if not isinstance(state, dict) or too_large:
            raise source.refuse(f"has a {name} whose part {place[:60]!r} is no module", SUPPORTED)
        tree.modules[place] = state
        prefix = f"{place}." if place else ""
        for kind in ("_parameters", "_buffers", "_modules"):
            members = state.get(kind, {})
            if not isinstance(members, dict) or not all(
                isinstance(item, str) and len(item) <= MAX_NAME for item in members
            ):
                raise source.refuse(f"has a {name} with damaged {kind[1:]}", SUPPORTED)
            for item, value in members.items():
                if kind == "_modules":
                    waiting.append((prefix + item, value))
                elif isinstance(value, StoredTensor):
                    tree.tensors[prefix + item] = value
                elif value is not None:
                    raise source.refuse(f"has a {name}.{prefix}{item[:40]} that is no tensor")
    return tree


def generator_entries(
    source: ByteSource, tree: Tree, prefix: str, class_index: int | None = None
) -> tuple[Entries, float | None]:
    """Return our key -> entry of a generator, and the bound that its layers clip at.

    ``prefix`` says where in the file it is; ``class_index`` fixes the class of a conditional one.
    """
    if "synthesis.input" in tree.modules:
        raise source.refuse("holds a StyleGAN3 generator", "give a StyleGAN2 checkpoint")
    refuse_other_codes(source, tree.tensors)
    check_options(source, tree.modules, FIXED)
    embedding: dict[str, Entry] = {}
    tensors: dict[str, StoredTensor] = {}
    for name, stored in tree.tensors.items():
        part = name.removeprefix("mapping.embed.")
        if part == name:
            tensors[name] = stored
        else:
            embedding[part] = Entry(prefix + name, stored)
    entries = rename(source, tensors, nvlabs_rules(), prefix, SUPPORTED)
    layers = [state for name, state in tree.modules.items() if name.startswith("synthesis.b")]
    clamp = agreed_clamp(source, [s["conv_clamp"] for s in layers if "conv_clamp" in s])
    if embedding or tree.modules[""].get("c_dim"):
        return fold_class(source, entries, embedding, class_index), clamp
    if class_index is not None:
        raise source.refuse("has no classes to choose from", "leave the class out")
    return entries, clamp


def discriminator_entries(source: ByteSource, tree: Tree, prefix: str) -> Entries:
    """Return our key -> entry of a discriminator."""
    mapped = any(name.startswith("mapping.") for name in tree.tensors)
    if mapped or tree.modules[""].get("c_dim"):
        raise source.refuse("has a class-conditional discriminator (c_dim > 0)", SUPPORTED)
    check_options(source, tree.modules, FIXED)
    places = discriminator_places(tree.tensors, "b{}.", "conv0 conv1 skip fromrgb conv fc")
    rules = rules_of(places | {"b4.out": "out"})
    return rename(source, tree.tensors, rules, prefix, SUPPORTED)


WEIGHT, BIAS = "mapping.fc.0.weight", "mapping.fc.0.bias"


def fold_class(
    source: ByteSource, entries: Entries, embedding: Mapping[str, Entry], class_index: int | None
) -> Entries:
    """Return entries of the unconditional network that one class of a conditional one is.

    The first layer sees [normalised z, normalised embedding of the class]. For a fixed class its
    second part is a constant, so it moves into the bias, and the weight keeps the columns of z:
    W [z; e] / sqrt(nz + ne) + b = W_z' z / sqrt(nz) + b', with W_z' = W_z sqrt(nz / (nz + ne)) and
    b' = b + W_e e / sqrt(nz + ne). (The learning rate multiplier scales weight and bias alike.)
    """
    if set(embedding) != {"weight", "bias"} or not {WEIGHT, BIAS} <= set(entries):
        raise source.refuse("has classes (c_dim > 0) but lacks layers for them")
    used = (entries[WEIGHT], entries[BIAS], embedding["weight"], embedding["bias"])
    for entry in used:
        entry.stored.check(entry.name)
    first, bias, embed, embed_bias = (entry.stored for entry in used)
    if len(first.shape) != 2 or len(embed.shape) != 2:
        raise source.refuse("has a class embedding of unknown shape")
    width, count = embed.shape
    both = first.shape[1]
    z_dim = both - width
    if z_dim < 1 or embed_bias.shape != (width,) or bias.shape != first.shape[:1]:
        raise source.refuse("has a class embedding that does not fit")
    if class_index is None or not 0 <= class_index < count:
        chosen = "" if class_index is None else f", class {class_index} is none of them"
        problem = f"is class-conditional with {count} classes (c_dim = {count}){chosen}"
        raise source.refuse(problem, f"choose one with --class 0 to --class {count - 1}")

    def with_class(values: Tensor) -> Tensor:
        # A fully connected layer with equalised learning rate on a one-hot vector.
        embedded = embed.read()[:, class_index] / math.sqrt(count) + embed_bias.read()
        embedded = embedded * (embedded.square().mean() + EPS).rsqrt()
        return values + torch.mv(first.read()[:, z_dim:], embedded) / math.sqrt(both)

    of_z = Change(lambda weight: weight[:, :z_dim], lambda part: part * math.sqrt(z_dim / both))
    return {
        **entries,
        WEIGHT: replace(entries[WEIGHT], change=of_z),
        BIAS: replace(entries[BIAS], change=Change(values=with_class)),
    }
