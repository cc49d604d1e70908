"""State dicts of PyTorch codes: which code a dict is from, and what its names mean.

rosinality's stylegan2-pytorch, BasicSR and genforce are opened; so are NVIDIA's networks saved as
a state dict, and the alpha networks of the Labels4Free authors' code. mmgeneration, lucidrains,
StyleGAN1 and StyleGAN3 are refused by name. Key names are facts of the formats; the code is ours.
"""

import re
from collections.abc import Iterable, Mapping

from . import tensors as stored
from .byte_source import ByteSource
from .shapes import LAYERS, MAX_MAPPING_LAYERS, RGB_LAYERS, SIDES
from .tensors import KEEP, Entries, Entry, Rules, StoredTensor, rename, rules_of

# Keys under which codes keep the averaged generator, the one to sample from.
AVERAGED = ["G_ema", "g_ema", "params_ema", "generator_ema", "generator_smooth", "g_running"]
AVERAGED += ["netG_ema", "model_ema", "ema"]
MAX_NAME = 200  # characters; the longest key of a known code has 47

# Names that only the generators of one other code have -> what they are.
UNSUPPORTED = {
    r"(.*\.)?(constant_input\.input|style_mapping\.\d+\.linear\.weight_orig)": (
        "a generator of mmgeneration or mmagic, whose files do not say whether it gives RGB or BGR"
    ),
    r"(.*\.)?(blocks\.\d+\.to_style1\..*|initial_block)": (
        "a generator of lucidrains' stylegan2-pytorch, whose layers are not those of the paper"
    ),
    r".*(StyleMod|ToRGB_lod|style_mod\.|adain|\.epi[12]\.|progression\.|apply_noise).*": (
        "a StyleGAN1 generator (its styles scale features, not weights)"
    ),
    r"(.*\.)?synthesis\.(input\.(freqs|weight)|L\d+_\d+_\d+\..*)": "a StyleGAN3 generator",
    r"(.*\.)?(stylegan_decoder\..*|style_conv1\.bias)": (
        "GFPGAN's variant of StyleGAN2, whose weights are scaled already"
    ),
}


def refuse_other_codes(source: ByteSource, names: Iterable[object]) -> None:
    """Refuse generators of codes that are known and not supported; say which, and the way out."""
    texts = [name[:MAX_NAME] for name in names if isinstance(name, str)]
    for pattern, what in UNSUPPORTED.items():
        if any(map(re.compile(pattern).fullmatch, texts)):
            remedy = "give a StyleGAN2, or that of NVIDIA's or rosinality's code it was made from"
            raise source.refuse(f"holds {what}", remedy)


def tensors_of(value: object) -> dict[str, StoredTensor] | None:
    """Return a state dict without the prefix of distributed training; None where it is none."""
    if not isinstance(value, dict) or not value:
        return None
    for key, item in value.items():
        if not isinstance(key, str) or len(key) > MAX_NAME or not isinstance(item, StoredTensor):
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
    if len(found := averaged or list(parts)) != 1:
        return None
    part, (name, rules) = found[0], parts[found[0]]
    inside = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
    return name, rename(source, inside, rules, f"{prefix}{part}")


def mapping_places(pattern: str, first: int = 0) -> dict[str, str]:
    """Return the layers of the mapping network, counted from ``first``: their place -> ours."""
    return {pattern.format(first + k): f"mapping.fc.{k}" for k in range(MAX_MAPPING_LAYERS)}


def noise_rules(pattern: str) -> Rules:
    """Return rules for the noise maps, which have two axes of size 1 more than ours."""
    places = _synthesis(pattern)
    return {name: (f"{ours}.noise_const", stored.DROP_TWO) for name, ours in places.items()}


def _synthesis(pattern: str, layers: list[str] = LAYERS, *first: str) -> dict[str, str]:
    """Return the layers of a synthesis network: their place -> ours; the first may be odd."""
    names = [*first, *(pattern.format(k) for k in range(len(layers) - len(first)))]
    return {name: f"synthesis.{layer}" for name, layer in zip(names, layers, strict=True)}


def _rosinality_like(
    mapping: str, const: str, prefix: str, noise: str, strength: str, inner: str
) -> Rules:
    """Rules of rosinality's code and of its descendants, which renamed the parts."""
    modulated = {
        f"{inner}.weight": ("weight", stored.DROP_FIRST),
        f"{inner}.modulation.weight": ("affine.weight", KEEP),
        f"{inner}.modulation.bias": ("affine.bias", KEEP),
    }
    own = {strength: ("noise_strength", stored.SCALAR), "activate.bias": ("bias", KEEP)}
    convs = _synthesis(f"{prefix}convs.{{}}", LAYERS, f"{prefix}conv1")
    rgbs = _synthesis("to_rgbs.{}", RGB_LAYERS, "to_rgb1")
    return {
        const: ("synthesis.b4.const", stored.DROP_FIRST),
        **rules_of(mapping_places(mapping, 1)),  # layer 0 normalises z and holds nothing
        **rules_of(convs, modulated | own),
        **rules_of(rgbs, modulated | {"bias": ("bias", stored.FLATTEN)}),
        **noise_rules(noise),
    }


def _genforce() -> Rules:
    """TensorFlow's conventions under PyTorch's names."""
    parts = {
        "weight": ("weight", KEEP),
        "bias": ("bias", KEEP),
        "style.weight": ("affine.weight", KEEP),
        "style.bias": ("affine.bias", stored.PLUS_ONE),
        "noise_strength": ("noise_strength", stored.SCALAR),
        "noise": ("noise_const", stored.DROP_TWO),
    }
    convs, rgbs = _synthesis("synthesis.layer{}"), _synthesis("synthesis.output{}", RGB_LAYERS)
    upward = {theirs: ours for theirs, ours in convs.items() if ours.endswith("conv0")}
    return {
        "synthesis.early_layer.const": ("synthesis.b4.const", stored.DROP_FIRST),
        "truncation.w_avg": ("w_avg", stored.FLATTEN),
        **rules_of(mapping_places("mapping.dense{}")),
        **rules_of(convs | rgbs, parts),
        **rules_of(upward, {"weight": ("weight", stored.MIRRORED)}),
    }


def nvlabs_rules() -> Rules:
    """Rules of NVIDIA's PyTorch code, whose names ours follow."""
    affine = ("weight", "bias", "affine.weight", "affine.bias")
    keys = [f"{layer}.{part}" for layer in [*LAYERS, *RGB_LAYERS] for part in affine]
    keys += [f"{layer}.{part}" for layer in LAYERS for part in ("noise_strength", "noise_const")]
    rules = {f"synthesis.{key}": (f"synthesis.{key}", KEEP) for key in ["b4.const", *keys]}
    return rules | {"mapping.w_avg": ("w_avg", KEEP)} | rules_of(mapping_places("mapping.fc{}"))


ROSINALITY = ("style.{}", "input.input", "", "noises.noise_{}", "noise.weight", "conv")
BASICSR = ("style_mlp.{}", "constant_input.weight", "style_", "noises.noise{}", "weight")
# Format -> a name that tells it, and its rules.
CODES: dict[str, tuple[str, Rules]] = {
    "rosinality": ("input.input", _rosinality_like(*ROSINALITY)),
    "basicsr": ("constant_input.weight", _rosinality_like(*BASICSR, "modulated_conv")),
    "genforce": ("synthesis.early_layer.const", _genforce()),
    "nvlabs-pytorch": ("synthesis.b4.const", nvlabs_rules()),
}


def discriminator_places(names: Iterable[str], block: str, parts: str) -> dict[str, str]:
    """Return the layers of a discriminator of NVIDIA's codes: their place -> ours.

    Its blocks count from the image's side down, the first that ``names`` of tensors have.
    ``block`` is how a block begins, and ``parts`` are conv0, conv1, skip, from_rgb, conv and fc.
    """
    found = [side for side in SIDES if any(n.startswith(block.format(side)) for n in names)]
    sides = [side for side in reversed(SIDES) if 8 <= side <= max(found, default=4)]
    *in_blocks, from_rgb, conv, fc = parts.split()
    places = {f"{block.format(sides[0] if sides else 4)}{from_rgb}": "from_rgb"}
    places |= {f"{block.format(4)}{conv}": "conv", f"{block.format(4)}{fc}": "fc"}
    for k, side in enumerate(sides):
        for theirs, ours in zip(in_blocks, ("conv0", "conv1", "skip"), strict=True):
            places[f"{block.format(side)}{theirs}"] = f"blocks.{k}.{ours}"
    return places


_BLOCK = {
    "conv1.0.weight": ("conv0.weight", KEEP),
    "conv1.1.bias": ("conv0.bias", KEEP),
    "conv2.1.weight": ("conv1.weight", KEEP),
    "conv2.2.bias": ("conv1.bias", KEEP),
    "skip.1.weight": ("skip.weight", KEEP),
}
DISCRIMINATOR: Rules = {
    "convs.0.0.weight": ("from_rgb.weight", KEEP),
    "convs.0.1.bias": ("from_rgb.bias", KEEP),
    "final_conv.0.weight": ("conv.weight", KEEP),
    "final_conv.1.bias": ("conv.bias", KEEP),
    **rules_of({"final_linear.0": "fc", "final_linear.1": "out"}),
    **rules_of({f"convs.{k + 1}": f"blocks.{k}" for k in range(len(SIDES))}, _BLOCK),
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
    tensors = tensors_of(loaded.get("bg_extractor_ema"))
    if tensors is None:
        raise source.refuse("has no bg_extractor_ema that is a dict of tensors", ALPHA_REMEDY)
    # A resolution for each of these layers; the last is the image's.
    firsts = re.compile(r"conv(\d*[13579]|_fns0\.\d+)\.weight")
    count = min(sum(bool(firsts.fullmatch(name)) for name in tensors), len(SIDES))
    names = (f"conv{2 * count - 1}.weight", f"conv_fns0.{count - 1}.weight")
    widths = [size for name in names if name in tensors for size in tensors[name].shape[1:2]]
    state = getattr(loaded.get("args"), "state", None)
    top = state.get("size") if isinstance(state, dict) else None
    if type(top) is not int or top not in SIDES[2:]:
        top = ALPHA_SIZES.get(widths[0]) if widths else None
    if top is None:
        problem = f"does not say its image size, and a top width of {widths} tells none"
        raise source.refuse(problem, "give a file with args.size, or one of a config-f generator")
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
            places[f"conv_next{level if level > 1 else ''}"] = f"merge.{side}"
            places[f"conv_merge_fns.{level - 1}"] = f"merge.{side}"
    return rename(source, tensors, rules_of(places), "bg_extractor_ema.", ALPHA_REMEDY)
