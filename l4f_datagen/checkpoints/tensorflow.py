"""StyleGAN2 networks in NVIDIA's TensorFlow pickles (stylegan2, stylegan2-ada), without TensorFlow.

A file is the tuple (G, D, Gs); Gs is the averaged generator. The key names are facts of the
format; the code is ours.
"""

import struct
from collections.abc import Mapping

import torch

from .byte_source import ByteSource, Span
from .pickle_machine.machine import Record, show
from .shapes import LAYERS, MAX_MAPPING_LAYERS, RGB_LAYERS, SIDES, agreed_clamp
from .stand_ins import TENSORFLOW_NETWORK, ArrayRecord
from .state_dicts import refuse_other_codes
from .tensors import (
    DROP_FIRST,
    DROP_TWO,
    KEEP,
    KERNEL_LAST,
    KERNEL_LAST_MIRRORED,
    PLUS_ONE,
    SCALAR,
    TRANSPOSE,
    Change,
    Entries,
    Rules,
    StoredTensor,
    rename,
)

REMEDY = "give an unconditional StyleGAN2 with the skip architecture"
MAX_DEPTH = 3  # Gs holds the synthesis and the mapping network, which hold none
MAX_NAME = 200  # characters; the longest there has 33

PARTS: dict[str, tuple[str, Change]] = {
    "weight": ("weight", KERNEL_LAST),
    "bias": ("bias", KEEP),
    "mod_weight": ("affine.weight", TRANSPOSE),
    "mod_bias": ("affine.bias", PLUS_ONE),
    "noise_strength": ("noise_strength", SCALAR),
}

Options = Mapping[object, object]

# Options that must be what StyleGAN2 has, where a file states them: our layers have them built in.
FIXED: tuple[tuple[str, tuple[object, ...]], ...] = (
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
    """Whether the object of a pickle is a snapshot or a network of NVIDIA's TensorFlow code."""
    items = loaded if isinstance(loaded, tuple) else (loaded,)
    return any(isinstance(item, Record) and item.name == TENSORFLOW_NETWORK for item in items)


def generator_entries(source: ByteSource, loaded: object) -> tuple[Entries, float | None]:
    """Return our key -> entry of Gs, and the bound that its layers clip at."""
    what = "Gs, the averaged generator"
    variables, options = _network(source, loaded, 2, what)
    refuse_other_codes(source, list(variables))
    _check_options(source, options, "skip", any(name.startswith("Label") for name in variables))
    entries = rename(source, variables, _generator_rules(), "Gs.", REMEDY)
    clamps = [kwargs["conv_clamp"] for kwargs in options if kwargs.get("conv_clamp") is not None]
    return entries, agreed_clamp(source, clamps)


def discriminator_entries(source: ByteSource, loaded: object) -> Entries:
    """Return our key -> entry of D."""
    variables, options = _network(source, loaded, 1, "D, the discriminator")
    _check_options(source, options, "resnet", conditional=False)
    sides = [side for side in SIDES if f"{side}x{side}/Conv0/weight" in variables]
    return rename(source, variables, _discriminator_rules(max(sides, default=4)), "D.", REMEDY)


def _network(
    source: ByteSource, loaded: object, index: int, what: str
) -> tuple[dict[str, StoredTensor], list[Options]]:
    """Return the variables of one network and its components, and the options of each."""
    parts = loaded if isinstance(loaded, tuple) else (loaded,) * 3
    variables: dict[str, StoredTensor] = {}
    options: list[Options] = []
    waiting = [(parts[index] if len(parts) == 3 else None, 0)]
    while waiting:
        network, depth = waiting.pop()
        state = network.state if is_tensorflow(network) and isinstance(network, Record) else None
        if not isinstance(state, dict) or depth > MAX_DEPTH:
            raise source.refuse(f"has no {what}", REMEDY)
        kwargs, components = state.get("static_kwargs"), state.get("components", {})
        values, is_dict = state.get("variables"), isinstance(components, dict)
        if not (isinstance(kwargs, dict) and is_dict and isinstance(values, list)):
            raise source.refuse(f"has a network without options or variables for {what}", REMEDY)
        options.append(kwargs)
        waiting += [(component, depth + 1) for component in components.values()]
        for pair in values:
            name = pair[0] if isinstance(pair, tuple | list) and len(pair) == 2 else None
            if not isinstance(name, str) or len(name) > MAX_NAME:
                raise source.refuse(f"has a damaged variable in {what}", REMEDY)
            if name in variables:
                raise source.refuse(f"holds the variable {name!r} twice", REMEDY)
            if name != "lod":  # the level of detail of progressive growing, of no use here
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


def _generator_rules() -> Rules:
    rules: dict[str, tuple[str, Change]] = {
        "dlatent_avg": ("w_avg", KEEP),
        "4x4/Const/const": ("synthesis.b4.const", DROP_FIRST),
    }
    for k in range(MAX_MAPPING_LAYERS):
        rules[f"Dense{k}/weight"] = (f"mapping.fc.{k}.weight", TRANSPOSE)
        rules[f"Dense{k}/bias"] = (f"mapping.fc.{k}.bias", KEEP)
    for k, layer in enumerate([*LAYERS, *RGB_LAYERS]):
        block, kind = layer.split(".")
        side = block.removeprefix("b")
        theirs = {"conv0": "Conv0_up", "torgb": "ToRGB", "conv1": "Conv1" if k else "Conv"}[kind]
        for part, (ours, change) in PARTS.items():
            mirrored = kind == "conv0" and part == "weight"
            made = KERNEL_LAST_MIRRORED if mirrored else change
            rules[f"{side}x{side}/{theirs}/{part}"] = (f"synthesis.{layer}.{ours}", made)
        if kind != "torgb":
            rules[f"noise{k}"] = (f"synthesis.{layer}.noise_const", DROP_TWO)
    return rules


def _discriminator_rules(top: int) -> Rules:
    """Rules for a discriminator of images of side ``top``; its blocks count from there."""
    dense = {"4x4/Dense0": "fc", "Output": "out"}
    places = {**dense, "4x4/Conv": "conv", f"{top}x{top}/FromRGB": "from_rgb"}
    for k, side in enumerate(reversed([side for side in SIDES if 8 <= side <= top])):
        for theirs, ours in {"Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}.items():
            places[f"{side}x{side}/{theirs}"] = f"blocks.{k}.{ours}"
    rules: dict[str, tuple[str, Change]] = {}
    for theirs, ours in places.items():
        change = TRANSPOSE if theirs in dense else KERNEL_LAST
        rules[f"{theirs}/weight"] = (f"{ours}.weight", change)
        rules[f"{theirs}/bias"] = (f"{ours}.bias", KEEP)
    return rules
