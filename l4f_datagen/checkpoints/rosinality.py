"""Generators and discriminators in the layout of rosinality's stylegan2-pytorch.

The key names are facts of the format; the code that reads them is ours.
"""

import re
from collections.abc import Mapping

from .assembly import Entries, Entry, add_entry
from .changes import DROP_FIRST, DROP_TWO, FLATTEN, KEEP, SCALAR, Change
from .filters import check_filter
from .storage import ByteSource, StoredTensor

REMEDY = "give a checkpoint with g_ema and (optional) latent_avg"
DDP_PREFIX = "module."
MAX_NAME = 200


def is_rosinality(loaded: object) -> bool:
    """Whether an object of a torch file looks like this layout."""
    return isinstance(loaded, dict) and any(key in loaded for key in ("g_ema", "g", "latent_avg"))


def generator_entries(source: ByteSource, loaded: Mapping[object, object]) -> Entries:
    """Return our key -> entry for the averaged generator ``g_ema``.

    Raises:
        CheckpointRefused: there is no ``g_ema``, or it has tensors that no StyleGAN2 has.
    """
    if "g_ema" not in loaded:
        raise source.refuse(
            "has no g_ema, the averaged generator (g alone is the one in training)", REMEDY
        )
    tensors = tensors_of(source, loaded["g_ema"], "g_ema")
    entries: dict[str, Entry] = {}
    for name, stored in tensors.items():
        full = f"g_ema.{name}"
        if name.endswith("kernel"):
            check_filter(source, full, stored)
            continue
        key, change = _generator_key(source, name)
        add_entry(source, entries, key, Entry(full, stored, change))
    average = loaded.get("latent_avg")
    if isinstance(average, StoredTensor):
        entries["w_avg"] = Entry("latent_avg", average, FLATTEN)
    elif average is not None:
        raise source.refuse("has a latent_avg that is no tensor", REMEDY)
    return entries


def discriminator_entries(source: ByteSource, loaded: Mapping[object, object]) -> Entries:
    """Return our key -> entry for the discriminator ``d``.

    Raises:
        CheckpointRefused: there is none, or it has tensors that are unknown.
    """
    tensors = tensors_of(source, loaded.get("d", {}), "d")
    if not tensors:
        raise source.refuse("has no discriminator", "give a training checkpoint with d")
    entries: dict[str, Entry] = {}
    for name, stored in tensors.items():
        full = f"d.{name}"
        if name.endswith("kernel"):
            check_filter(source, full, stored)
        else:
            add_entry(source, entries, _discriminator_key(source, name), Entry(full, stored))
    return entries


def tensors_of(source: ByteSource, value: object, what: str) -> dict[str, StoredTensor]:
    """Return a state dict of a torch file, without the prefix of distributed training.

    Raises:
        CheckpointRefused: it is no dict of tensors.
    """
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and len(key) <= MAX_NAME and isinstance(item, StoredTensor)
        for key, item in value.items()
    ):
        raise source.refuse(f"has a {what} that is no dict of tensors", REMEDY)
    if value and all(key.startswith(DDP_PREFIX) for key in value):
        return {key.removeprefix(DDP_PREFIX): item for key, item in value.items()}
    return value


STYLE_LAYER = re.compile(r"style\.(\d{1,2})\.(weight|bias)")
NOISE = re.compile(r"noises\.noise_(\d{1,2})")
LAYER = re.compile(r"(conv1|convs\.(\d{1,2})|to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)")
LAYER_PARTS: dict[str, tuple[str, Change]] = {
    "conv.weight": ("weight", DROP_FIRST),
    "conv.modulation.weight": ("affine.weight", KEEP),
    "conv.modulation.bias": ("affine.bias", KEEP),
}
CONV_PARTS: dict[str, tuple[str, Change]] = {
    **LAYER_PARTS,
    "noise.weight": ("noise_strength", SCALAR),
    "activate.bias": ("bias", KEEP),
}
RGB_PARTS: dict[str, tuple[str, Change]] = {**LAYER_PARTS, "bias": ("bias", FLATTEN)}


def _generator_key(source: ByteSource, name: str) -> tuple[str, Change]:
    if name == "input.input":
        return "synthesis.b4.const", DROP_FIRST
    if match := STYLE_LAYER.fullmatch(name):
        # style.0 is the normalisation of z and holds nothing.
        return f"mapping.fc.{int(match[1]) - 1}.{match[2]}", KEEP
    if match := NOISE.fullmatch(name):
        return f"synthesis.{_layer(int(match[1]))}.noise_const", DROP_TWO
    if match := LAYER.fullmatch(name):
        rgb = match[1].startswith("to_rgb")
        parts = RGB_PARTS if rgb else CONV_PARTS
        if match[4] in parts:
            part, change = parts[match[4]]
            if rgb:
                block = f"b{_side(int(match[3]) + 1 if match[3] else 0)}.torgb"
            else:
                block = _layer(int(match[2]) + 1 if match[2] else 0)
            return f"synthesis.{block}.{part}", change
    raise source.refuse(f"holds g_ema.{name}, which StyleGAN2 has no place for", REMEDY)


def _side(block: int) -> int:
    """Return the resolution of the k-th block."""
    return 4 << block


def _layer(index: int) -> str:
    """Return the block and layer of the k-th convolution: 4 px has one, the others two."""
    return f"b{_side((index + 1) // 2)}.conv{1 if index % 2 == 0 else 0}"


D_NAMES = {
    "convs.0.0.weight": "from_rgb.weight",
    "convs.0.1.bias": "from_rgb.bias",
    "final_conv.0.weight": "conv.weight",
    "final_conv.1.bias": "conv.bias",
    "final_linear.0.weight": "fc.weight",
    "final_linear.0.bias": "fc.bias",
    "final_linear.1.weight": "out.weight",
    "final_linear.1.bias": "out.bias",
}
D_BLOCK = re.compile(r"convs\.(\d{1,2})\.(.+)")
D_PARTS = {
    "conv1.0.weight": "conv0.weight",
    "conv1.1.bias": "conv0.bias",
    "conv2.1.weight": "conv1.weight",
    "conv2.2.bias": "conv1.bias",
    "skip.1.weight": "skip.weight",
}


def _discriminator_key(source: ByteSource, name: str) -> str:
    if name in D_NAMES:
        return D_NAMES[name]
    match = D_BLOCK.fullmatch(name)
    if match and match[2] in D_PARTS:
        return f"blocks.{int(match[1]) - 1}.{D_PARTS[match[2]]}"
    raise source.refuse(f"holds d.{name}, which StyleGAN2 has no place for", REMEDY)
