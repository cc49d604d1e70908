"""State dicts of PyTorch codes: which code a dict is from, and what its names mean.

rosinality's stylegan2-pytorch, BasicSR and genforce are opened; so are NVIDIA's networks saved as
a state dict, and the alpha networks of the Labels4Free authors' code. mmgeneration, lucidrains,
StyleGAN1 and StyleGAN3 are refused by name. Key names are facts of the formats; the code is ours.
"""

import re
from collections.abc import Mapping, Sequence

from .byte_source import ByteSource
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
    Entries,
    Entry,
    Rules,
    StoredTensor,
    rename,
)

# Keys under which codes keep the averaged generator (weights averaged over the training; the one
# to sample from).
AVERAGED = (
    *("G_ema", "g_ema", "params_ema", "generator_ema", "generator_smooth", "g_running"),
    *("netG_ema", "model_ema", "ema"),
)
MAX_NAME = 200  # characters; the longest key of a known code has 47
Parts = dict[str, tuple[str, Change]]

# Names that only the generators of one other code have -> what they are, and the way out.
STYLEGAN2 = "give a StyleGAN2 checkpoint"
UNSUPPORTED = {
    r"(.*\.)?(constant_input\.input|style_mapping\.\d+\.linear\.weight_orig)": (
        "a generator of mmgeneration or mmagic, whose files do not say whether it gives RGB or BGR",
        "give the file of NVIDIA's or rosinality's code that it was converted from",
    ),
    r"(.*\.)?(blocks\.\d+\.to_style1\..*|initial_block)": (
        "a generator of lucidrains' stylegan2-pytorch, whose layers are not those of the StyleGAN2 "
        "paper",
        "give a network of NVIDIA's or rosinality's code",
    ),
    r".*(StyleMod|ToRGB_lod|style_mod\.|adain|\.epi[12]\.|progression\.|apply_noise).*": (
        "a StyleGAN1 generator (its styles scale features, not weights)",
        STYLEGAN2,
    ),
    r"(.*\.)?synthesis\.(input\.(freqs|weight)|L\d+_\d+_\d+\..*)": (
        "a StyleGAN3 generator",
        STYLEGAN2,
    ),
    r"(.*\.)?(stylegan_decoder\..*|style_conv1\.bias)": (
        "GFPGAN's variant of StyleGAN2, whose weights are scaled already",
        "give the StyleGAN2 generator that it was made from",
    ),
}


def refuse_other_codes(source: ByteSource, names: Sequence[object]) -> None:
    """Refuse generators of codes that are known and not supported; say which, and the way out."""
    texts = [name[:MAX_NAME] for name in names if isinstance(name, str)]
    for pattern, (what, remedy) in UNSUPPORTED.items():
        if any(map(re.compile(pattern).fullmatch, texts)):
            raise source.refuse(f"holds {what}", remedy)


def tensors_of(value: object) -> dict[str, StoredTensor] | None:
    """Return a state dict without the prefix of distributed training; None where it is none."""
    if not isinstance(value, dict) or not value:
        return None
    for key, item in value.items():
        named = isinstance(key, str) and len(key) <= MAX_NAME
        if not named or not isinstance(item, StoredTensor):
            return None
    if all(key.startswith("module.") for key in value):
        return {key.removeprefix("module."): item for key, item in value.items()}
    return value


def generator_entries(
    source: ByteSource, tensors: Mapping[str, StoredTensor], prefix: str
) -> tuple[str, dict[str, Entry]] | None:
    """Return the format of a generator's state dict and our key -> entry; None where unknown.

    The generator may be a part of a larger network, as in the state dicts of Lightning, pSp and
    e4e: then an averaged one comes first, and of several others none is taken.
    """
    refuse_other_codes(source, list(tensors))
    for name, (telling, rules) in CODES.items():
        if telling in tensors:
            return name, rename(source, tensors, rules, prefix)
    parts = {
        key.removesuffix(telling): (name, rules)
        for name, (telling, rules) in CODES.items()
        for key in tensors
        if key.endswith(f".{telling}")
    }
    averaged = [part for part in parts if part.split(".")[-2] in AVERAGED]
    found = averaged or list(parts)
    if len(found) != 1:
        return None
    (part,) = found
    name, rules = parts[part]
    inside = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
    return name, rename(source, inside, rules, f"{prefix}{part}")


def both_parts(places: Mapping[str, str]) -> Rules:
    """Return rules for weight and bias of layers, unchanged: their name -> ours."""
    return {
        f"{theirs}.{part}": (f"{ours}.{part}", KEEP)
        for theirs, ours in places.items()
        for part in ("weight", "bias")
    }


def _layers(name: str, ours: str, parts: Parts) -> Parts:
    return {f"{name}.{part}": (f"{ours}.{key}", change) for part, (key, change) in parts.items()}


def _mapping(pattern: str, first: int) -> Parts:
    places = {pattern.format(first + k): f"mapping.fc.{k}" for k in range(MAX_MAPPING_LAYERS)}
    return dict(both_parts(places))


def _rosinality_like(
    mapping: str, const: str, prefix: str, noise: str, strength: str, inner: str
) -> Rules:
    """Rules of rosinality's code and of its descendants, which renamed the parts."""
    modulated: Parts = {
        f"{inner}.weight": ("weight", DROP_FIRST),
        f"{inner}.modulation.weight": ("affine.weight", KEEP),
        f"{inner}.modulation.bias": ("affine.bias", KEEP),
    }
    conv = modulated | {strength: ("noise_strength", SCALAR), "activate.bias": ("bias", KEEP)}
    rules = {const: ("synthesis.b4.const", DROP_FIRST)}
    rules |= _mapping(mapping, 1)  # layer 0 is the normalisation of z and holds nothing
    for k, layer in enumerate(LAYERS):
        theirs = f"{prefix}convs.{k - 1}" if k else f"{prefix}conv1"
        rules |= _layers(theirs, f"synthesis.{layer}", conv)
        rules[f"{noise}{k}"] = (f"synthesis.{layer}.noise_const", DROP_TWO)
    for k, layer in enumerate(RGB_LAYERS):
        rgb = modulated | {"bias": ("bias", FLATTEN)}
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
        _rosinality_like("style.{}", "input.input", "", "noises.noise_", "noise.weight", "conv"),
    ),
    "basicsr": (
        "constant_input.weight",
        _rosinality_like(
            "style_mlp.{}",
            "constant_input.weight",
            "style_",
            "noises.noise",
            "weight",
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
    **both_parts({"final_linear.0": "fc", "final_linear.1": "out"}),
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

# Alpha networks of the Labels4Free authors, who call them background extractors; their output is
# the foreground. The weights to use are ``bg_extractor_ema``; there are two layouts of the class.
ALPHA_REMEDY = "give a checkpoint with bg_extractor_ema"
# Width of the last resolution in the authors' generators (channel multiplier 2) -> image size.
ALPHA_SIZES = {32: 1024, 64: 512, 128: 256}


def is_labels4free(loaded: object) -> bool:
    """Whether an object of a torch file is a checkpoint of the authors' training."""
    return isinstance(loaded, dict) and any(str(key).startswith("bg_extractor") for key in loaded)


def alpha_entries(source: ByteSource, loaded: Mapping[object, object]) -> Entries:
    """Return our key -> entry of ``bg_extractor_ema``."""
    if "bg_extractor_ema" not in loaded:
        raise source.refuse("has no bg_extractor_ema, the alpha network to use", ALPHA_REMEDY)
    tensors = tensors_of(loaded["bg_extractor_ema"])
    if tensors is None:
        raise source.refuse("has a bg_extractor_ema that is no dict of tensors", ALPHA_REMEDY)
    counts = [k for k in range(1, len(SIDES) + 1) if set(tensors) <= set(_alpha_rules(k, 0))]
    count = counts[0] if counts else len(SIDES)
    top = _image_size(source, loaded, tensors, count) if counts else SIDES[-1]
    return rename(source, tensors, _alpha_rules(count, top), "bg_extractor_ema.", ALPHA_REMEDY)


def _alpha_rules(count: int, top: int) -> Rules:
    """Rules for ``count`` resolutions, the last of which is ``top``."""
    places = {"conv_n": "out"}
    for level in range(count):
        side = top >> (count - 1 - level)
        places |= {
            f"conv{2 * level + 1}": f"first.{side}",
            f"conv{2 * level + 2}": f"second.{side}",
            f"conv_fns0.{level}": f"first.{side}",
            f"conv_fns1.{level}": f"second.{side}",
        }
        if level:
            merge = f"merge.{side}"
            places |= {f"conv_next{level if level > 1 else ''}": merge}
            places |= {f"conv_merge_fns.{level - 1}": merge}
    return both_parts(places)


def _image_size(
    source: ByteSource,
    loaded: Mapping[object, object],
    tensors: Mapping[str, StoredTensor],
    count: int,
) -> int:
    """Return the image size: what the training run was told, else what the widths mean."""
    state = getattr(loaded.get("args"), "state", None)
    told = state.get("size") if isinstance(state, dict) else None
    if type(told) is int and told in SIDES[2:]:
        return told
    names = (f"conv{2 * count - 1}.weight", f"conv_fns0.{count - 1}.weight")
    widths = [tensors[name].shape[1:2] for name in names if name in tensors]
    size = ALPHA_SIZES.get(widths[0][0]) if widths and widths[0] else None
    if size is None:
        problem = f"does not say its image size, and a top width of {widths} tells none"
        raise source.refuse(problem, "give a file with args.size, or one of a config-f generator")
    return size
