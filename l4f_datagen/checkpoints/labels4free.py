"""Alpha checkpoints of the Labels4Free authors' code: key names only, both class layouts.

Their file calls the network a background extractor; its output is the foreground. The weights to
use are ``bg_extractor_ema``.
"""

import re
from collections.abc import Mapping

from .assembly import Entries, Entry, add_entry
from .rosinality import tensors_of
from .storage import ByteSource, StoredTensor

REMEDY = "give a checkpoint with bg_extractor_ema"
# Width of the last resolution in the authors' generators (channel multiplier 2) -> image size.
SIZES = {32: 1024, 64: 512, 128: 256}

READ = re.compile(r"conv(\d{1,2})\.(weight|bias)")
MERGE = re.compile(r"conv_next(\d?)\.(weight|bias)")
READ_LIST = re.compile(r"conv_fns([01])\.(\d)\.(weight|bias)")
MERGE_LIST = re.compile(r"conv_merge_fns\.(\d)\.(weight|bias)")
OUT = re.compile(r"conv_n\.(weight|bias)")


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
    tensors = tensors_of(source, loaded["bg_extractor_ema"], "bg_extractor_ema")
    places = {name: _place(source, name) for name in tensors}
    count = 1 + max((level for _, level, _ in places.values() if level is not None), default=0)
    top = _image_size(source, loaded, tensors, places, count)
    entries: dict[str, Entry] = {}
    for name, (kind, level, part) in places.items():
        side = None if level is None else top >> (count - 1 - level)
        key = f"{kind}.{part}" if side is None else f"{kind}.{side}.{part}"
        add_entry(source, entries, key, Entry(f"bg_extractor_ema.{name}", tensors[name]))
    return entries


Place = tuple[str, int | None, str]


def _place(source: ByteSource, name: str) -> Place:
    """Return part of our network, level (0 = lowest resolution) and weight or bias."""
    if match := OUT.fullmatch(name):
        return "out", None, match[1]
    if match := READ.fullmatch(name):
        index = int(match[1]) - 1
        return ("second" if index % 2 else "first"), index // 2, match[2]
    if match := MERGE.fullmatch(name):
        return "merge", int(match[1] or 1), match[2]
    if match := READ_LIST.fullmatch(name):
        return ("second" if match[1] == "1" else "first"), int(match[2]), match[3]
    if match := MERGE_LIST.fullmatch(name):
        return "merge", int(match[1]) + 1, match[2]
    raise source.refuse(f"holds bg_extractor_ema.{name}, which no alpha network has", REMEDY)


def _image_size(
    source: ByteSource,
    loaded: Mapping[object, object],
    tensors: Mapping[str, StoredTensor],
    places: Mapping[str, Place],
    count: int,
) -> int:
    """Return the image size: what the training run was told, else what the widths mean."""
    state = getattr(loaded.get("args"), "state", None)
    told = state.get("size") if isinstance(state, dict) else None
    if type(told) is int and told in (2**k for k in range(4, 11)):
        return told
    tops = [
        tensors[name].shape[1]
        for name, place in places.items()
        if place == ("first", count - 1, "weight") and len(tensors[name].shape) == 4
    ]
    size = SIZES.get(tops[0]) if tops else None
    if size is None:
        raise source.refuse(
            f"does not say its image size, and a top width of {tops} tells none",
            "give a file with args.size, or one of a config-f generator",
        )
    return size
