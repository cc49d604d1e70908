"""StyleGAN2 networks in NVIDIA's PyTorch pickles: of stylegan2-ada-pytorch, and of stylegan3.

A network is a tree of objects with parameters, buffers and attributes; the source text that comes
with each is dropped unread. The key names are facts of the format; the code is ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .allowed import PersistentObject
from .assembly import Entries, Entry, add_entry
from .conditional import fold_class
from .filters import check_filter
from .machine import show
from .storage import ByteSource, StoredTensor

REMEDY = "give an unconditional StyleGAN2 with the skip architecture"
MAX_MODULES = 2000
MAX_DEPTH = 8
MAX_NAME = 100
LR_MULTIPLIER = 0.01
TOLERANCE = 1e-6
MAX_CLAMP = 1e9

GENERATOR_KEYS = (
    (re.compile(r"mapping\.fc(\d{1,3})\.(weight|bias)"), r"mapping.fc.\1.\2"),
    (re.compile(r"mapping\.w_avg"), "w_avg"),
    (re.compile(r"synthesis\.b4\.const"), "synthesis.b4.const"),
    (
        re.compile(
            r"synthesis\.b(\d{1,4})\.(conv[01])\."
            r"(weight|bias|affine\.weight|affine\.bias|noise_strength|noise_const)"
        ),
        r"synthesis.b\1.\2.\3",
    ),
    (
        re.compile(r"synthesis\.b(\d{1,4})\.torgb\.(weight|bias|affine\.weight|affine\.bias)"),
        r"synthesis.b\1.torgb.\2",
    ),
)
EPILOGUE = re.compile(r"b4\.(conv|fc|out)\.(weight|bias)")
D_LAYER = re.compile(r"b(\d{1,4})\.(fromrgb|conv0|conv1|skip)\.(weight|bias)")

# What attributes of the modules must be, where a file has them, and what to call them.
FIXED: tuple[tuple[str, str, object], ...] = (
    (r".*\bconv[01]", "activation", "lrelu"),
    (r"mapping\.fc\d+", "activation", "lrelu"),
    (r".*\baffine", "activation", "linear"),
    (r".*\bconv[01]", "use_noise", True),
    (r"synthesis\.b\d+\.conv0", "up", 2),
    (r"synthesis\.b\d+\.conv1", "up", 1),
    (r"", "img_channels", 3),
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


def is_nvlabs(loaded: object) -> bool:
    """Whether the object of a pickle is a snapshot of NVIDIA's PyTorch code."""
    return isinstance(loaded, dict) and any(key in loaded for key in ("G_ema", "G", "D"))


def generator_entries(
    source: ByteSource, loaded: Mapping[object, object], class_index: int | None = None
) -> tuple[Entries, float | None]:
    """Return our key -> entry of ``G_ema``, and the bound that its layers clip at.

    Args:
        source: the file.
        loaded: its object.
        class_index: for class-conditional networks, the class to fix.

    Raises:
        CheckpointRefused: there is no ``G_ema``, or it is of a kind this tool does not support.
    """
    tree = _tree(source, loaded, "G_ema", "the averaged generator (G alone is the one in training)")
    if "SynthesisInput" in tree.classes or "synthesis.input" in tree.modules:
        raise source.refuse("holds a StyleGAN3 generator", "give a StyleGAN2 checkpoint")
    _check_architecture(source, tree, "synthesis", "skip")
    _check_fixed(source, tree)
    entries: dict[str, Entry] = {}
    embedding: dict[str, Entry] = {}
    for name, stored in tree.tensors.items():
        full = f"G_ema.{name}"
        if name.endswith("resample_filter"):
            check_filter(source, full, stored)
        elif name in ("mapping.embed.weight", "mapping.embed.bias"):
            embedding[name.rpartition(".")[2]] = Entry(full, stored)
        else:
            add_entry(source, entries, _generator_key(source, name), Entry(full, stored))
    classes = _number(tree.modules[""].get("c_dim")) or 0
    clamp = _clamp(source, tree)
    if classes or embedding:
        return fold_class(source, entries, embedding, class_index), clamp
    if class_index is not None:
        raise source.refuse("has no classes to choose from", "leave the class out")
    return entries, clamp


def discriminator_entries(source: ByteSource, loaded: Mapping[object, object]) -> Entries:
    """Return our key -> entry of ``D``.

    Raises:
        CheckpointRefused: there is none, or it is of a kind this tool does not support.
    """
    tree = _tree(source, loaded, "D", "the discriminator")
    if _number(tree.modules[""].get("c_dim")) or any(
        name.startswith("mapping.") for name in tree.tensors
    ):
        raise source.refuse("has a class-conditional discriminator (c_dim > 0)", REMEDY)
    _check_architecture(source, tree, "", "resnet")
    _check_fixed(source, tree)
    top = max((int(m[1]) for name in tree.tensors if (m := D_LAYER.fullmatch(name))), default=4)
    entries: dict[str, Entry] = {}
    for name, stored in tree.tensors.items():
        full = f"D.{name}"
        if name.endswith("resample_filter"):
            check_filter(source, full, stored)
        else:
            add_entry(source, entries, _discriminator_key(source, name, top), Entry(full, stored))
    return entries


def _tree(source: ByteSource, loaded: Mapping[object, object], key: str, what: str) -> Tree:
    root = loaded.get(key)
    if root is None:
        raise source.refuse(f"has no {key}, {what}", REMEDY)
    if not isinstance(root, PersistentObject):
        raise source.refuse(f"has a {key} that is no network", REMEDY)
    tensors: dict[str, StoredTensor] = {}
    modules: dict[str, Mapping[object, object]] = {}
    classes: set[str] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        name, module = waiting.pop()
        state = module.state if isinstance(module, PersistentObject) else None
        if not isinstance(state, dict) or len(modules) > MAX_MODULES or name.count(".") > MAX_DEPTH:
            raise source.refuse(f"has a {key} whose part {name[:60]!r} is no module", REMEDY)
        assert isinstance(module, PersistentObject)
        modules[name] = state
        classes.add(module.class_name)
        prefix = f"{name}." if name else ""
        for kind in ("_parameters", "_buffers", "_modules"):
            members = state.get(kind, {})
            if not isinstance(members, dict) or not all(
                isinstance(item, str) and len(item) <= MAX_NAME for item in members
            ):
                raise source.refuse(f"has a {key} with damaged {kind[1:]}", REMEDY)
            for item, value in members.items():
                if kind == "_modules":
                    waiting.append((prefix + item, value))
                elif isinstance(value, StoredTensor):
                    tensors[prefix + item] = value
                elif value is not None:
                    raise source.refuse(f"has a {key}.{prefix}{item[:40]} that is no tensor")
    return Tree(tensors, modules, frozenset(classes))


def _check_architecture(source: ByteSource, tree: Tree, part: str, wanted: str) -> None:
    block = re.compile(rf"{part}\.?b\d+")
    for name, state in tree.modules.items():
        found = state.get("architecture")
        if found is not None and block.fullmatch(name) and found != wanted:
            raise source.refuse(f"has the architecture {show(found)!r}, not {wanted!r}", REMEDY)


def _check_fixed(source: ByteSource, tree: Tree) -> None:
    for pattern, attribute, wanted in FIXED:
        regex = re.compile(pattern)
        for name, state in tree.modules.items():
            if attribute not in state or not regex.fullmatch(name):
                continue
            found = state[attribute]
            if not _same(found, wanted):
                shown = f"{name}.{attribute}".lstrip(".")
                raise source.refuse(f"has {shown} = {show(found)}, expected {wanted}", REMEDY)


def _same(found: object, wanted: object) -> bool:
    numbers = _number(found), _number(wanted)
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1]) <= TOLERANCE
    return found == wanted


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _clamp(source: ByteSource, tree: Tree) -> float | None:
    """Return the clamp of the synthesis layers; it is one number in every file there is."""
    found: set[float | None] = set()
    for name, state in tree.modules.items():
        clamp = state.get("conv_clamp")
        if name.startswith("synthesis.b") and "conv_clamp" in state:
            number = _number(clamp)
            if clamp is not None and (number is None or not 0 < number < MAX_CLAMP):
                raise source.refuse(f"has {name}.conv_clamp = {show(clamp)}", REMEDY)
            found.add(number)
    if len(found) > 1:
        raise source.refuse("has layers with different conv_clamp", REMEDY)
    return found.pop() if found else None


def _generator_key(source: ByteSource, name: str) -> str:
    for pattern, key in GENERATOR_KEYS:
        if match := pattern.fullmatch(name):
            return match.expand(key)
    raise source.refuse(f"holds G_ema.{name}, for which there is no place", REMEDY)


def _discriminator_key(source: ByteSource, name: str, top: int) -> str:
    if match := EPILOGUE.fullmatch(name):
        return f"{match[1]}.{match[2]}"
    match = D_LAYER.fullmatch(name)
    if match and match[2] == "fromrgb" and int(match[1]) == top:
        return f"from_rgb.{match[3]}"
    if match and match[2] != "fromrgb" and top >= int(match[1]) >= 8:
        block = top.bit_length() - int(match[1]).bit_length()
        return f"blocks.{block}.{match[2]}.{match[3]}"
    raise source.refuse(f"holds D.{name}, for which there is no place", REMEDY)
