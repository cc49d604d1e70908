"""State dicts of PyTorch codes: which code a dict is from, and what its names mean.

rosinality's stylegan2-pytorch, BasicSR and genforce are opened; so are NVIDIA's networks saved as
a state dict. mmgeneration, lucidrains, StyleGAN1 and StyleGAN3 are refused by name. The key names
are facts of the formats; the code is ours.
"""

import re
from collections.abc import Mapping, Sequence

from .pickle_machine.source import ByteSource
from .shapes import LAYERS, MAX_MAPPING_LAYERS, RGB_LAYERS, SIDES
from .tensors import (
    DROP_FIRST,
    DROP_TWO,
    FLATTEN,
    KEEP,
    MIRRORED,
    PLUS_ONE,
    SCALAR,
    Change,
    Entry,
    Rules,
    StoredTensor,
    rename,
)

MAX_NAME = 200
Parts = Mapping[str, tuple[str, Change]]

# A name that only the generators of one other code have -> what they are, and the way out.
STYLEGAN2 = "give a StyleGAN2 checkpoint"
UNSUPPORTED: Sequence[tuple[re.Pattern[str], str, str]] = (
    (
        re.compile(r"(.*\.)?(constant_input\.input|style_mapping\.\d+\.linear\.weight_orig)"),
        "holds a generator of mmgeneration or mmagic, whose files do not say whether it gives RGB "
        "or BGR",
        "give the file of NVIDIA's or rosinality's code that it was converted from",
    ),
    (
        re.compile(r"(.*\.)?(blocks\.\d+\.to_style1\..*|initial_block)"),
        "holds a generator of lucidrains' stylegan2-pytorch, whose layers are not those of the "
        "StyleGAN2 paper",
        "give a network of NVIDIA's or rosinality's code",
    ),
    (
        re.compile(
            r".*(StyleMod|ToRGB_lod|style_mod\.|adain|\.epi[12]\.|progression\.|apply_noise).*"
        ),
        "holds a StyleGAN1 generator (its styles scale features, not weights)",
        STYLEGAN2,
    ),
    (
        re.compile(r"(.*\.)?synthesis\.(input\.(freqs|weight)|L\d+_\d+_\d+\..*)"),
        "holds a StyleGAN3 generator",
        STYLEGAN2,
    ),
    (
        re.compile(r"(.*\.)?(stylegan_decoder\..*|style_conv1\.bias)"),
        "holds GFPGAN's variant of StyleGAN2, whose weights are scaled already",
        "give the StyleGAN2 generator that it was made from",
    ),
)


def refuse_other_codes(source: ByteSource, names: Sequence[object]) -> None:
    """Refuse generators of codes that are known and not supported.

    Raises:
        CheckpointRefused: says which code, and the way out.
    """
    for pattern, problem, remedy in UNSUPPORTED:
        if any(isinstance(name, str) and pattern.fullmatch(name[:MAX_NAME]) for name in names):
            raise source.refuse(problem, remedy)


def tensors_of(value: object) -> dict[str, StoredTensor] | None:
    """Return a state dict without the prefix of distributed training; None where it is none."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(key, str) and len(key) <= MAX_NAME for key in value):
        return None
    if not all(isinstance(item, StoredTensor) for item in value.values()):
        return None
    if all(key.startswith("module.") for key in value):
        return {key.removeprefix("module."): item for key, item in value.items()}
    return value


def generator_entries(
    source: ByteSource, tensors: Mapping[str, StoredTensor], prefix: str
) -> tuple[str, dict[str, Entry]] | None:
    """Return the format of a generator's state dict and our key -> entry; None where unknown.

    Raises:
        CheckpointRefused: a code that is not supported, or a tensor without a place in StyleGAN2.
    """
    refuse_other_codes(source, list(tensors))
    for name, (telling, rules) in CODES.items():
        if telling in tensors:
            return name, rename(source, tensors, rules, prefix)
    return None


def _layers(name: str, ours: str, parts: Parts) -> dict[str, tuple[str, Change]]:
    return {f"{name}.{part}": (f"{ours}.{key}", change) for part, (key, change) in parts.items()}


def _mapping(pattern: str, first: int) -> dict[str, tuple[str, Change]]:
    return {
        f"{pattern.format(first + k)}.{part}": (f"mapping.fc.{k}.{part}", KEEP)
        for k in range(MAX_MAPPING_LAYERS)
        for part in ("weight", "bias")
    }


def _rosinality_like(
    mapping: str, const: str, conv: str, convs: str, noise: str, parts: Parts, inner: str
) -> Rules:
    """Rules of rosinality's code and of its descendants, which renamed the parts."""
    modulated: Parts = {
        f"{inner}.weight": ("weight", DROP_FIRST),
        f"{inner}.modulation.weight": ("affine.weight", KEEP),
        f"{inner}.modulation.bias": ("affine.bias", KEEP),
    }
    rules = {const: ("synthesis.b4.const", DROP_FIRST)}
    rules |= _mapping(mapping, 1)  # layer 0 is the normalisation of z and holds nothing
    for k, layer in enumerate(LAYERS):
        ours = f"synthesis.{layer}"
        rules |= _layers(f"{convs}.{k - 1}" if k else conv, ours, {**modulated, **parts})
        rules[f"{noise}{k}"] = (f"{ours}.noise_const", DROP_TWO)
    for k, layer in enumerate(RGB_LAYERS):
        rgb: Parts = {**modulated, "bias": ("bias", FLATTEN)}
        rules |= _layers(f"to_rgbs.{k - 1}" if k else "to_rgb1", f"synthesis.{layer}", rgb)
    return rules


def _genforce() -> Rules:
    """TensorFlow's conventions under PyTorch's names."""
    parts: Parts = {
        "weight": ("weight", KEEP),
        "bias": ("bias", KEEP),
        "style.weight": ("affine.weight", KEEP),
        "style.bias": ("affine.bias", PLUS_ONE),
        "noise_strength": ("noise_strength", SCALAR),
        "noise": ("noise_const", DROP_TWO),
    }
    rules = {
        "synthesis.early_layer.const": ("synthesis.b4.const", DROP_FIRST),
        "truncation.w_avg": ("w_avg", FLATTEN),
    }
    rules |= _mapping("mapping.dense{}", 0)
    for k, layer in enumerate(LAYERS):
        up = {"weight": ("weight", MIRRORED)} if layer.endswith("conv0") else {}
        rules |= _layers(f"synthesis.layer{k}", f"synthesis.{layer}", {**parts, **up})
    for k, layer in enumerate(RGB_LAYERS):
        rules |= _layers(f"synthesis.output{k}", f"synthesis.{layer}", parts)
    return rules


def nvlabs_rules() -> Rules:
    """Rules of NVIDIA's PyTorch code, whose names ours follow."""
    affine = ("weight", "bias", "affine.weight", "affine.bias")
    keys = [f"{layer}.{part}" for layer in [*LAYERS, *RGB_LAYERS] for part in affine]
    keys += [f"{layer}.{part}" for layer in LAYERS for part in ("noise_strength", "noise_const")]
    rules = {f"synthesis.{key}": (f"synthesis.{key}", KEEP) for key in ["b4.const", *keys]}
    return rules | {"mapping.w_avg": ("w_avg", KEEP)} | _mapping("mapping.fc{}", 0)


# Format -> a name that tells it, and its rules.
CODES: dict[str, tuple[str, Rules]] = {
    "rosinality": (
        "input.input",
        _rosinality_like(
            "style.{}",
            "input.input",
            "conv1",
            "convs",
            "noises.noise_",
            {"noise.weight": ("noise_strength", SCALAR), "activate.bias": ("bias", KEEP)},
            "conv",
        ),
    ),
    "basicsr": (
        "constant_input.weight",
        _rosinality_like(
            "style_mlp.{}",
            "constant_input.weight",
            "style_conv1",
            "style_convs",
            "noises.noise",
            {"weight": ("noise_strength", SCALAR), "activate.bias": ("bias", KEEP)},
            "modulated_conv",
        ),
    ),
    "genforce": ("synthesis.early_layer.const", _genforce()),
    "nvlabs-pytorch": ("synthesis.b4.const", nvlabs_rules()),
}

DISCRIMINATOR: Rules = {
    "convs.0.0.weight": ("from_rgb.weight", KEEP),
    "convs.0.1.bias": ("from_rgb.bias", KEEP),
    "final_conv.0.weight": ("conv.weight", KEEP),
    "final_conv.1.bias": ("conv.bias", KEEP),
    "final_linear.0.weight": ("fc.weight", KEEP),
    "final_linear.0.bias": ("fc.bias", KEEP),
    "final_linear.1.weight": ("out.weight", KEEP),
    "final_linear.1.bias": ("out.bias", KEEP),
} | {
    f"convs.{k + 1}.{theirs}": (f"blocks.{k}.{ours}", KEEP)
    for k in range(len(SIDES))
    for theirs, ours in {
        "conv1.0.weight": "conv0.weight",
        "conv1.1.bias": "conv0.bias",
        "conv2.1.weight": "conv1.weight",
        "conv2.2.bias": "conv1.bias",
        "skip.1.weight": "skip.weight",
    }.items()
}
