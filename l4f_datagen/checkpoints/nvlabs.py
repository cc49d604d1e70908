"""StyleGAN2 networks of NVIDIA's PyTorch codes (stylegan2-ada-pytorch, stylegan3) as modules.

A network is a tree of objects with parameters, buffers and attributes; the source text that comes
with each is dropped unread. The key names are facts of the format; the code is ours.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from l4f_datagen.models.layers import EPS

from .byte_source import ByteSource
from .pickle_machine.machine import show
from .shapes import SIDES, agreed_clamp
from .stand_ins import ModuleRecord
from .state_dicts import both_parts, nvlabs_rules, refuse_other_codes
from .tensors import Change, Entries, Entry, Rules, Shape, StoredTensor, rename

REMEDY = "give an unconditional StyleGAN2 with the skip architecture"
# A 1024 px discriminator, the largest network, has 40 modules, four deep.
MAX_MODULES = 2000
MAX_DEPTH = 8
MAX_NAME = 100  # characters; the longest there has 15
LR_MULTIPLIER = 0.01  # of the mapping network, in every configuration of NVIDIA's codes
TOLERANCE = 1e-6  # of attributes: a float32 keeps seven digits

# What attributes of the modules must be, where a file has them: our layers have these built in.
FIXED: tuple[tuple[str, str, object], ...] = (
    (r".*\bconv[01]", "activation", "lrelu"),
    (r"mapping\.fc\d+", "activation", "lrelu"),
    (r".*\baffine", "activation", "linear"),
    (r".*\bconv[01]", "use_noise", True),
    (r"synthesis\.b\d+\.conv0", "up", 2),
    (r"synthesis\.b\d+\.conv1", "up", 1),
    (r".*\baffine", "bias_gain", 1),
    (r"mapping\.fc\d+", "bias_gain", LR_MULTIPLIER),
    (r"b4\.mbstd", "group_size", 4),
    (r"b4\.mbstd", "num_channels", 1),
)


@dataclass(frozen=True)
class Tree:
    """A network taken apart: dotted names -> tensors, and -> attributes of each module."""

    tensors: dict[str, StoredTensor]
    modules: dict[str, Mapping[object, object]]
    classes: frozenset[str]


def take_apart(source: ByteSource, root: ModuleRecord, name: str) -> Tree:
    """Take the module apart that a file holds under ``name``."""
    tensors: dict[str, StoredTensor] = {}
    modules: dict[str, Mapping[object, object]] = {}
    classes: set[str] = set()
    whole: object = root
    while isinstance(whole, ModuleRecord) and whole.class_name.endswith("DataParallel"):
        inside = whole.state.get("_modules") if isinstance(whole.state, dict) else None
        whole = inside.get("module") if isinstance(inside, dict) else None
    waiting: list[tuple[str, object]] = [("", whole)]
    while waiting:
        place, module = waiting.pop()
        state = module.state if isinstance(module, ModuleRecord) else None
        too_large = len(modules) > MAX_MODULES or place.count(".") > MAX_DEPTH
        if not isinstance(module, ModuleRecord) or not isinstance(state, dict) or too_large:
            raise source.refuse(f"has a {name} whose part {place[:60]!r} is no module", REMEDY)
        modules[place] = state
        classes.add(module.class_name)
        prefix = f"{place}." if place else ""
        for kind in ("_parameters", "_buffers", "_modules"):
            members = state.get(kind, {})
            if not isinstance(members, dict) or not all(
                isinstance(item, str) and len(item) <= MAX_NAME for item in members
            ):
                raise source.refuse(f"has a {name} with damaged {kind[1:]}", REMEDY)
            for item, value in members.items():
                if kind == "_modules":
                    waiting.append((prefix + item, value))
                elif isinstance(value, StoredTensor):
                    tensors[prefix + item] = value
                elif value is not None:
                    raise source.refuse(f"has a {name}.{prefix}{item[:40]} that is no tensor")
    return Tree(tensors, modules, frozenset(classes))


def generator_entries(
    source: ByteSource, tree: Tree, prefix: str, class_index: int | None = None
) -> tuple[Entries, float | None]:
    """Return our key -> entry of a generator, and the bound that its layers clip at.

    ``prefix`` says where in the file it is; ``class_index`` fixes the class of a conditional one.
    """
    if "SynthesisInput" in tree.classes or "synthesis.input" in tree.modules:
        raise source.refuse("holds a StyleGAN3 generator", "give a StyleGAN2 checkpoint")
    refuse_other_codes(source, list(tree.tensors))
    _check_architecture(source, tree, "synthesis", "skip")
    _check_fixed(source, tree)
    parts = {part: f"mapping.embed.{part}" for part in ("weight", "bias")}
    embedding = {
        part: Entry(prefix + name, tree.tensors[name])
        for part, name in parts.items()
        if name in tree.tensors
    }
    tensors = {k: v for k, v in tree.tensors.items() if not k.startswith("mapping.embed.")}
    entries = rename(source, tensors, nvlabs_rules(), prefix, REMEDY)
    layers = [state for name, state in tree.modules.items() if name.startswith("synthesis.b")]
    clamp = agreed_clamp(source, [s["conv_clamp"] for s in layers if "conv_clamp" in s])
    if embedding or _number(tree.modules[""].get("c_dim")):
        return fold_class(source, entries, embedding, class_index), clamp
    if class_index is not None:
        raise source.refuse("has no classes to choose from", "leave the class out")
    return entries, clamp


def discriminator_entries(source: ByteSource, tree: Tree, prefix: str) -> Entries:
    """Return our key -> entry of a discriminator."""
    mapped = any(name.startswith("mapping.") for name in tree.tensors)
    if mapped or _number(tree.modules[""].get("c_dim")):
        raise source.refuse("has a class-conditional discriminator (c_dim > 0)", REMEDY)
    _check_architecture(source, tree, "", "resnet")
    _check_fixed(source, tree)
    sides = [side for side in SIDES if f"b{side}.conv0.weight" in tree.tensors]
    return rename(source, tree.tensors, _discriminator_rules(max(sides, default=4)), prefix, REMEDY)


def _discriminator_rules(top: int) -> Rules:
    """Rules for a discriminator of images of side ``top``; its blocks count from there."""
    places = {f"b4.{part}": part for part in ("conv", "fc", "out")}
    places[f"b{top}.fromrgb"] = "from_rgb"
    for k, side in enumerate(reversed([side for side in SIDES if 8 <= side <= top])):
        places |= {f"b{side}.{part}": f"blocks.{k}.{part}" for part in ("conv0", "conv1", "skip")}
    return both_parts(places)


def _check_architecture(source: ByteSource, tree: Tree, part: str, wanted: str) -> None:
    block = re.compile(rf"{part}\.?b\d+")
    for name, state in tree.modules.items():
        found = state.get("architecture")
        if found is not None and block.fullmatch(name) and found != wanted:
            raise source.refuse(f"has the architecture {show(found)!r}, not {wanted!r}", REMEDY)


def _check_fixed(source: ByteSource, tree: Tree) -> None:
    for (pattern, attribute, wanted), (name, state) in product(FIXED, tree.modules.items()):
        if attribute not in state or not re.fullmatch(pattern, name):
            continue
        if not _same(state[attribute], wanted):
            shown = f"{name}.{attribute} = {show(state[attribute])}"
            raise source.refuse(f"has {shown}, expected {wanted}", REMEDY)


def _same(found: object, wanted: object) -> bool:
    numbers = _number(found), _number(wanted)
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1]) <= TOLERANCE
    return found == wanted


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
        problem = f"is class-conditional with {count} classes (c_dim = {count}){chosen}"
        raise source.refuse(problem, f"choose one with --class 0 to --class {count - 1}")
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
