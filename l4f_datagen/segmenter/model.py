"""The segmenter: a U-Net with the size it works at, and its file.

An image of any size is scaled until its longer side is the trained size, its aspect kept, and its
edge is repeated up to the next multiple of the network's stride. The alpha is cut back and scaled
to the image: the object has about the size the network knows, and every pixel gets a value.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.checkpoints.byte_source import ByteSource
from l4f_datagen.checkpoints.containers import read_container
from l4f_datagen.checkpoints.native import FORMAT, VERSION, read_metadata, write_safetensors
from l4f_datagen.models.unet import UNet
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.segmenter.training import predict

LIMITS = {"width": 128, "depth": 6, "size": 4096}  # a choice, above any use
COUNTER = "num_batches_tracked"  # of batch norm; changes nothing once trained and is not stored


@dataclass(frozen=True)
class Segmenter:
    """A trained network and what is needed to use it."""

    network: UNet  # in eval mode, on its device
    size: int  # longer side of the images it was trained on, px
    threshold: float  # mask where ``alpha > threshold``
    category: str  # what it finds
    licence: Licence | None  # of the generator whose samples it learnt from
    training: Mapping[str, Any]  # where it comes from: plan, dataset, scores

    @property
    def spec(self) -> dict[str, Any]:
        """What the file says of the network and its use, beside licence and training."""
        own = {name: getattr(self, name) for name in ("size", "threshold", "category")}
        return own | {"width": self.network.width, "depth": self.network.depth}

    def alpha(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the soft foreground ``h w`` in [0, 1] of an image ``h w 3`` of any size."""
        size_hw = image.shape[0], image.shape[1]
        working = scaled_to(size_hw, self.size)
        padded = pad_to(resize(image, working), self.network.stride)
        alpha = predict(self.network, padded[None])[0, : working[0], : working[1]]
        if working == size_hw:
            return alpha
        soft = Image.fromarray(alpha).resize(size_hw[::-1], Image.Resampling.BILINEAR)
        return np.asarray(soft).clip(0, 1)


def scaled_to(size_hw: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return height and width with the longer side given, the aspect kept, at least 1 px."""
    scale = long_side / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def resize(pixels: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale uint8 ``h w 3`` or ``h w``, smooth both ways; the same size is left as it is."""
    if pixels.shape[:2] == size_hw:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size_hw[::-1], Image.Resampling.BILINEAR))


def pad_to(pixels: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Repeat the right and the lower edge until both sides are multiples of ``stride``."""
    missing = [(0, -side % stride) for side in pixels.shape[:2]]
    return np.pad(pixels, [*missing, *[(0, 0)] * (pixels.ndim - 2)], mode="edge")


def save_segmenter(path: Path, segmenter: Segmenter) -> None:
    """Write a safetensors file that says what it is; the same weights give the same bytes."""
    metadata = {"format": FORMAT, "version": str(VERSION), "kind": "segmenter"}
    facts = {"spec": segmenter.spec, "training": dict(segmenter.training)}
    if segmenter.licence is not None:
        facts["licence"] = segmenter.licence.facts
    metadata |= {name: json.dumps(value, sort_keys=True) for name, value in facts.items()}
    state = segmenter.network.state_dict()
    kept = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
    write_safetensors(path, kept, metadata)


def open_segmenter(path: Path, device: torch.device | str = "cpu") -> Segmenter:
    """Open a file of ``save_segmenter``; refuse what is damaged, hostile, or no segmenter."""
    with ByteSource(path) as source:
        container = read_container(source)
        if container.metadata is None:
            problem = "is not a segmenter"
            raise source.refuse(problem, "give a file of `l4f-datagen segmenter train`")
        native = read_metadata(source, container.metadata, "segmenter")
        try:
            spec = _checked_spec(native.spec)
        except (KeyError, TypeError, ValueError) as error:
            raise source.refuse(f"has metadata that cannot be read ({error})") from None
        with torch.device("meta"):
            network = UNet(spec["width"], spec["depth"])
        own = network.state_dict()
        wanted = {name: tuple(own[name].shape) for name in own if not name.endswith(COUNTER)}
        found = {name: stored.shape for name, stored in container.tensors.items()}
        if found != wanted:
            odd = sorted(set(found.items()) ^ set(wanted.items()))[0]
            raise source.refuse(f"does not hold the network it names (see {odd[0]} {odd[1]})")
        state = {}
        for name, stored in container.tensors.items():
            stored.check(name)
            state[name] = stored.read()
            if not torch.isfinite(state[name]).all():
                raise source.refuse(f"holds values in {name} that are not finite")
    counters = own.keys() - wanted.keys()
    state |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    named = {name: spec[name] for name in ("size", "threshold", "category")}
    return Segmenter(network, **named, licence=native.licence, training=native.training)


def _checked_spec(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check the numbers before they size anything."""
    for name, limit in LIMITS.items():
        if type(raw[name]) is not int or not 1 <= raw[name] <= limit:
            raise ValueError(f"{name} must be 1 to {limit}")
    threshold, category = raw["threshold"], raw["category"]
    if type(threshold) is not float or not 0 <= threshold < 1:
        raise ValueError("threshold must be in [0, 1)")
    if type(category) is not str or not category.isprintable() or len(category) > 200:
        raise ValueError("category must be a name")
    return dict(raw)
