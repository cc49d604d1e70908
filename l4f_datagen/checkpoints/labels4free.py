"""Alpha checkpoints of the Labels4Free authors' code: key names only, both class layouts.

Their file calls the network a background extractor; its output is the foreground. The weights to
use are ``bg_extractor_ema``.
"""

from collections.abc import Mapping

from .pickle_machine.source import ByteSource
from .shapes import SIDES
from .state_dicts import tensors_of
from .tensors import KEEP, Entries, Rules, StoredTensor, rename

REMEDY = "give a checkpoint with bg_extractor_ema"
# Width of the last resolution in the authors' generators (channel multiplier 2) -> image size.
SIZES = {32: 1024, 64: 512, 128: 256}


def is_labels4free(loaded: object) -> bool:
    """Whether an object of a torch file is a checkpoint of the authors' training."""
    return isinstance(loaded, dict) and any(str(key).startswith("bg_extractor") for key in loaded)


def alpha_entries(source: ByteSource, loaded: Mapping[object, object]) -> Entries:
    """Return our key -> entry of ``bg_extractor_ema``.

    Raises:
        CheckpointRefused: it is missing, or has tensors that are in neither class layout.
    """
    if "bg_extractor_ema" not in loaded:
        raise source.refuse("has no bg_extractor_ema, the alpha network to use", REMEDY)
    tensors = tensors_of(loaded["bg_extractor_ema"])
    if tensors is None:
        raise source.refuse("has a bg_extractor_ema that is no dict of tensors", REMEDY)
    counts = [count for count in range(1, len(SIDES) + 1) if set(tensors) <= set(_rules(count, 0))]
    count = counts[0] if counts else len(SIDES)
    top = _image_size(source, loaded, tensors, count) if counts else SIDES[-1]
    rules = _rules(count, top)
    return rename(source, tensors, rules, "bg_extractor_ema.", REMEDY)


def _rules(count: int, top: int) -> Rules:
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
    return {
        f"{theirs}.{part}": (f"{ours}.{part}", KEEP)
        for theirs, ours in places.items()
        for part in ("weight", "bias")
    }


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
    size = SIZES.get(widths[0][0]) if widths and widths[0] else None
    if size is None:
        raise source.refuse(
            f"does not say its image size, and a top width of {widths} tells none",
            "give a file with args.size, or one of a config-f generator",
        )
    return size
