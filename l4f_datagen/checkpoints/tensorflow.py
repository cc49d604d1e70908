"""StyleGAN2 networks in NVIDIA's TensorFlow pickles (stylegan2, stylegan2-ada), without TensorFlow.

A file is the tuple (G, D, Gs); Gs is the averaged generator. The key names are facts of the
format; the code is ours.
"""

import re
import struct
from collections.abc import Mapping

import torch

from .arrays import ArrayRecord
from .assembly import Entries, Entry, add_entry
from .changes import (
    DROP_FIRST,
    DROP_TWO,
    KEEP,
    KERNEL_LAST,
    KERNEL_LAST_MIRRORED,
    PLUS_ONE,
    SCALAR,
    TRANSPOSE,
    Change,
)
from .machine import Record, show
from .storage import ByteSource, Span, StoredTensor

NETWORK = "dnnlib.tflib.network.Network"
REMEDY = "give an unconditional StyleGAN2 with the skip architecture"
MAX_DEPTH = 3
MAX_NAME = 200

LAYER = re.compile(r"(\d{1,4})x\1/(Conv|Conv0_up|Conv1|ToRGB)/(\w+)")
LAYER_NAMES = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}
PARTS: dict[str, tuple[str, Change]] = {
    "weight": ("weight", KERNEL_LAST),
    "bias": ("bias", KEEP),
    "mod_weight": ("affine.weight", TRANSPOSE),
    "mod_bias": ("affine.bias", PLUS_ONE),
    "noise_strength": ("noise_strength", SCALAR),
}
DENSE = re.compile(r"Dense(\d{1,3})/(weight|bias)")
NOISE = re.compile(r"noise(\d{1,2})")
D_LAYER = re.compile(r"(\d{1,4})x\1/(FromRGB|Conv0|Conv1_down|Skip)/(weight|bias)")
D_NAMES = {"Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}
D_END = {
    "4x4/Conv/weight": ("conv.weight", KERNEL_LAST),
    "4x4/Conv/bias": ("conv.bias", KEEP),
    "4x4/Dense0/weight": ("fc.weight", TRANSPOSE),
    "4x4/Dense0/bias": ("fc.bias", KEEP),
    "Output/weight": ("out.weight", TRANSPOSE),
    "Output/bias": ("out.bias", KEEP),
}

Options = Mapping[object, object]

# Options that must be what StyleGAN2 has, where a file states them.
FIXED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("num_channels", (3,)),
    ("resample_kernel", ([1, 3, 3, 1], (1, 3, 3, 1))),
    ("nonlinearity", ("lrelu",)),
    ("mapping_nonlinearity", ("lrelu",)),
    ("mapping_lrmul", (0.01,)),
    ("normalize_latents", (True,)),
    ("use_noise", (True,)),
    ("mbstd_group_size", (4,)),
    ("mbstd_num_features", (1,)),
)


def is_tensorflow(loaded: object) -> bool:
    """Whether the object of a pickle is a snapshot of NVIDIA's TensorFlow code."""
    return isinstance(loaded, tuple) and any(
        isinstance(item, Record) and item.name == NETWORK for item in loaded
    )


def generator_entries(
    source: ByteSource, loaded: tuple[object, ...]
) -> tuple[Entries, float | None]:
    """Return our key -> entry of Gs, and the bound that its layers clip at.

    Raises:
        CheckpointRefused: there is no Gs, or it is of a kind this tool does not support.
    """
    variables, options = _network(source, loaded, 2, "Gs, the averaged generator")
    if any("StyleMod" in name or "ToRGB_lod" in name for name in variables):
        raise source.refuse("holds a StyleGAN1 generator", "give a StyleGAN2 checkpoint")
    _check_options(source, options, "skip", any(name.startswith("Label") for name in variables))
    entries: dict[str, Entry] = {}
    for name, stored in variables.items():
        if name == "lod":  # the level of detail of progressive growing, of no use here
            continue
        key, change = _generator_key(source, name)
        add_entry(source, entries, key, Entry(f"Gs.{name}", stored, change))
    return entries, _clamp(source, options)


def discriminator_entries(source: ByteSource, loaded: tuple[object, ...]) -> Entries:
    """Return our key -> entry of D.

    Raises:
        CheckpointRefused: there is none, or it is of a kind this tool does not support.
    """
    variables, options = _network(source, loaded, 1, "D, the discriminator")
    _check_options(source, options, "resnet", conditional=False)
    top = max((int(m[1]) for name in variables if (m := D_LAYER.fullmatch(name))), default=4)
    entries: dict[str, Entry] = {}
    for name, stored in variables.items():
        if name == "lod":
            continue
        key, change = _discriminator_key(source, name, top)
        add_entry(source, entries, key, Entry(f"D.{name}", stored, change))
    return entries


def _network(
    source: ByteSource, loaded: tuple[object, ...], index: int, what: str
) -> tuple[dict[str, StoredTensor], list[Options]]:
    """Return the variables of one network and its components, and the options of each."""
    root = loaded[index] if len(loaded) == 3 else None
    variables: dict[str, StoredTensor] = {}
    options: list[Options] = []
    waiting = [(root, 0)]
    while waiting:
        network, depth = waiting.pop()
        state = network.state if isinstance(network, Record) and network.name == NETWORK else None
        if not isinstance(state, dict) or depth > MAX_DEPTH:
            raise source.refuse(f"has no {what}", REMEDY)
        kwargs, components = state.get("static_kwargs"), state.get("components", {})
        values = state.get("variables")
        if not (
            isinstance(kwargs, dict) and isinstance(components, dict) and isinstance(values, list)
        ):
            raise source.refuse(f"has a network without options or variables for {what}", REMEDY)
        options.append(kwargs)
        waiting += [(component, depth + 1) for component in components.values()]
        for pair in values:
            name = pair[0] if isinstance(pair, tuple | list) and len(pair) == 2 else None
            if not isinstance(name, str) or len(name) > MAX_NAME:
                raise source.refuse(f"has a damaged variable in {what}", REMEDY)
            if name in variables:
                raise source.refuse(f"holds the variable {name!r} twice", REMEDY)
            variables[name] = _stored(source, name, pair[1])
    return variables, options


def _stored(source: ByteSource, name: str, value: object) -> StoredTensor:
    if isinstance(value, StoredTensor):
        return value
    if isinstance(value, ArrayRecord) and value.tensor is not None:
        return value.tensor
    if isinstance(value, int | float):
        return StoredTensor(Span(source, 0, 8, struct.pack("<d", value)), torch.float64, (), ())
    raise source.refuse(f"has the variable {name!r} that is no array", REMEDY)


def _check_options(
    source: ByteSource, options: list[Options], architecture: str, conditional: bool
) -> None:
    for kwargs in options:
        labels = kwargs.get("label_size", 0)
        if labels or conditional:
            problem = f"is class-conditional (label_size = {show(labels)}), in TensorFlow's way"
            raise source.refuse(problem, REMEDY)
        found = kwargs.get("architecture", architecture)
        if found != architecture:
            problem = f"has the architecture {show(found)!r}, not {architecture!r}"
            raise source.refuse(problem, REMEDY)
        for name, wanted in FIXED:
            if name in kwargs and kwargs[name] not in wanted:
                problem = f"has {name} = {show(kwargs[name])}, expected {wanted[0]}"
                raise source.refuse(problem, REMEDY)


def _clamp(source: ByteSource, options: list[Options]) -> float | None:
    """Return the clamp that network and components agree on."""
    clamps: set[float] = set()
    for kwargs in options:
        clamp = kwargs.get("conv_clamp")
        if clamp is None:
            continue
        if isinstance(clamp, bool) or not isinstance(clamp, int | float) or not 0 < clamp < 1e9:
            raise source.refuse(f"has the conv_clamp {show(clamp)!r}", REMEDY)
        clamps.add(float(clamp))
    if len(clamps) > 1:
        raise source.refuse(f"has components with different conv_clamp {sorted(clamps)}", REMEDY)
    return clamps.pop() if clamps else None


def _generator_key(source: ByteSource, name: str) -> tuple[str, Change]:
    if name == "dlatent_avg":
        return "w_avg", KEEP
    if name == "4x4/Const/const":
        return "synthesis.b4.const", DROP_FIRST
    if match := DENSE.fullmatch(name):
        return f"mapping.fc.{match[1]}.{match[2]}", TRANSPOSE if match[2] == "weight" else KEEP
    if match := NOISE.fullmatch(name):
        index = int(match[1])
        side = 4 << ((index + 1) // 2)
        return f"synthesis.b{side}.conv{1 if index % 2 == 0 else 0}.noise_const", DROP_TWO
    match = LAYER.fullmatch(name)
    if match and match[3] in PARTS:
        part, change = PARTS[match[3]]
        if match[2] == "Conv0_up" and part == "weight":
            change = KERNEL_LAST_MIRRORED
        return f"synthesis.b{match[1]}.{LAYER_NAMES[match[2]]}.{part}", change
    raise source.refuse(f"holds Gs.{name}, for which there is no place", REMEDY)


def _discriminator_key(source: ByteSource, name: str, top: int) -> tuple[str, Change]:
    if name in D_END:
        return D_END[name]
    if match := D_LAYER.fullmatch(name):
        side, change = int(match[1]), KERNEL_LAST if match[3] == "weight" else KEEP
        if match[2] == "FromRGB" and side == top:
            return f"from_rgb.{match[3]}", change
        if match[2] != "FromRGB" and side >= 8:
            block = top.bit_length() - side.bit_length()
            return f"blocks.{block}.{D_NAMES[match[2]]}.{match[3]}", change
    raise source.refuse(f"holds D.{name}, for which there is no place", REMEDY)
