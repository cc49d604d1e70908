"""Open any checkpoint: the format is told by the content, never by the file's name.

``open_generator``, ``open_discriminator`` and ``open_alpha`` give spec and weights under our
names. Nothing in a file is executed, and nothing but the wanted network is read.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l4f_datagen.core.errors import CheckpointRefused, L4FError, UsageError
from l4f_datagen.io.download import file_hash
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, GeneratorSpec, estimate_w_avg
from l4f_datagen.recipe.catalogue import Licence, weights_by_sha256
from l4f_datagen.recipe.domains import network_path

from .byte_source import ByteSource
from .containers import Container, read_container
from .layout import Layout, alpha_layout, checkpoint_kind, discriminator_layout, generator_layout
from .native import Native, fingerprint, is_trained
from .shapes import alpha_state, discriminator_state, filled, generator_state, state_shapes

logger = logging.getLogger(__name__)

NOISE_SEED = 2000  # any fixed one: noise maps that a file lacks must be the same each time
GREY = "it gives grey images, so its channel is repeated to RGB"
# Names of both networks in the folder of a pretraining, and in those of the weights that ship.
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What every opened checkpoint has."""

    path: Path
    format: str  # whose code wrote it, see ``layout.Layout``
    stamp: tuple[int, int]  # size and time of the file when it was read
    native: Native | None  # metadata, for our own files
    notes: tuple[str, ...]  # what the user has to know about how it was opened; also logged
    state: Mapping[str, Tensor] = field(repr=False)  # our key -> values, float32

    @property
    def kind(self) -> str:
        """What the network is: generator, discriminator or alpha."""
        return type(self).__name__.removesuffix("Checkpoint").lower()

    @property
    def num_parameters(self) -> int:
        """Number of trained values; the mean of w and the noise maps are not trained."""
        return sum(value.numel() for key, value in self.state.items() if is_trained(key))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, read through once; refused where it is no longer what was opened."""
        with suppress(OSError):
            digest, state = file_hash(self.path), self.path.stat()
            if (state.st_size, state.st_mtime_ns) == self.stamp:
                return digest
        problem = "has changed since it was opened"
        raise CheckpointRefused(str(self.path), problem, "leave it alone meanwhile")

    @property
    def licence(self) -> Licence | None:
        """The licence the weights came with; None where neither file nor catalogue knows it."""
        known = self.native or weights_by_sha256(self.sha256)
        return known.licence if known else None

    @property
    def origin(self) -> str | None:
        """Where the weights come from; None where neither file nor catalogue knows it."""
        if self.native:
            return self.native.origin
        known = weights_by_sha256(self.sha256)
        return known.url if known else None


@dataclass(frozen=True)
class GeneratorCheckpoint(Checkpoint):
    """An opened generator."""

    spec: GeneratorSpec
    image_channels: int = 3  # of the file: 3, or 1, which is then repeated to three equal ones
    class_index: int | None = None  # that was fixed, for class-conditional networks

    @property
    def channels(self) -> Mapping[int, int]:
        """Resolution -> width."""
        return self.spec.channels

    @property
    def has_w_avg(self) -> bool:
        """Whether the file stores the mean of w."""
        return "w_avg" in self.state

    @property
    def has_noise(self) -> bool:
        """Whether the file stores the noise maps, all of them."""
        return sum(key.endswith(".noise_const") for key in self.state) == self.spec.num_ws - 1

    @cached_property
    def fingerprint(self) -> str:
        """Name of the weights, the same in every container (see ``native.fingerprint``)."""
        return fingerprint(self.state)

    @cached_property
    def complete_state(self) -> dict[str, Tensor]:
        """The state with what the file lacks: noise maps from a fixed seed, estimated w_avg."""
        state = dict(self.state)
        if self.has_w_avg and self.has_noise:
            return state
        shapes = state_shapes(lambda: Generator(self.spec))
        for k, key in enumerate(key for key in shapes if key.endswith(".noise_const")):
            if key not in state:
                # A stream for each map, so that one does not depend on which others are stored.
                drawn = np.random.RandomState(NOISE_SEED + k).standard_normal(shapes[key])
                state[key] = torch.from_numpy(drawn.astype(np.float32))
        if "w_avg" not in state:
            state["w_avg"] = torch.zeros(self.spec.w_dim)
            mapping = filled(lambda: Generator(self.spec), state).mapping
            state["w_avg"] = estimate_w_avg(mapping, self.spec.z_dim)
        return {key: state[key] for key in shapes}

    def build(self) -> Generator:
        """Return the generator, frozen, in eval mode; it shares memory with ``state``."""
        return filled(lambda: Generator(self.spec), self.complete_state)


@dataclass(frozen=True)
class DiscriminatorCheckpoint(Checkpoint):
    """An opened discriminator of square images; ``channels`` is resolution -> width."""

    resolution: int
    channels: Mapping[int, int]

    def build(self) -> Discriminator:
        """Return the discriminator, frozen, in eval mode; it shares memory with ``state``."""
        return filled(lambda: Discriminator(self.resolution, self.channels), self.state)


@dataclass(frozen=True)
class AlphaCheckpoint(Checkpoint):
    """An opened alpha network, with the resolutions that it reads: ascending, last the image's."""

    resolutions: tuple[int, ...]
    channels: Mapping[int, int]

    @property
    def generator_fingerprint(self) -> str | None:
        """Fingerprint of the generator it was trained on; None where the file does not say."""
        return self.native.generator_fingerprint if self.native else None

    def build(self) -> AlphaNetwork:
        """Return the alpha network, frozen, in eval mode; it shares memory with ``state``."""
        resolutions = list(self.resolutions)
        return filled(lambda: AlphaNetwork(self.channels, resolutions), self.state)


AnyCheckpoint = GeneratorCheckpoint | DiscriminatorCheckpoint | AlphaCheckpoint


def open_generator(
    source: Path | str, class_index: int | None = None, *, offline: bool = False
) -> GeneratorCheckpoint:
    """Open a generator from any of the supported files.

    ``source`` is a file, the name of a shipped domain, an http(s) address, ``builtin:NAME`` or
    ``catalogue:NAME``; a file of that name comes first. ``class_index`` fixes the class of a
    class-conditional network of NVIDIA's PyTorch code. ``offline`` fetches nothing.

    CheckpointRefused: the file is damaged, hostile, or holds no supported generator. NetworkError:
    it has to be fetched and cannot be. RecipeError: no such built-in or catalogue entry.
    """
    with ByteSource(network_path(source, "generator", offline=offline)) as file:
        return _generator(file, read_container(file), class_index)


def open_discriminator(path: Path | str) -> DiscriminatorCheckpoint:
    """Open the discriminator of any of the supported files."""
    with ByteSource(Path(path)) as source:
        return _discriminator(source, read_container(source))


def open_alpha(source: Path | str, *, offline: bool = False) -> AlphaCheckpoint:
    """Open an alpha network: ours, or one of the Labels4Free authors' code.

    As ``open_generator``; UsageError where a domain names no alpha network.
    """
    with ByteSource(network_path(source, "alpha", offline=offline)) as file:
        return _alpha(file, read_container(file))


def open_checkpoint(path: Path | str, class_index: int | None = None) -> AnyCheckpoint:
    """Open whatever a file is for: an alpha network, one of our discriminators, or a generator."""
    with ByteSource(Path(path)) as source:
        container = read_container(source)
        kind = checkpoint_kind(source, container)
        if kind == "generator":
            return _generator(source, container, class_index)
        return _alpha(source, container) if kind == "alpha" else _discriminator(source, container)


def _generator(source: ByteSource, held: Container, index: int | None) -> GeneratorCheckpoint:
    layout = generator_layout(source, held, index)
    state, spec, image_channels = generator_state(source, layout.entries, layout.conv_clamp)
    common = _common(source, layout, *([GREY] if image_channels == 1 else []))
    return GeneratorCheckpoint(*common, state, spec, image_channels, index)


def _discriminator(source: ByteSource, held: Container) -> DiscriminatorCheckpoint:
    layout = discriminator_layout(source, held)
    state = discriminator_state(source, layout.entries)
    return DiscriminatorCheckpoint(*_common(source, layout), *state)


def _alpha(source: ByteSource, held: Container) -> AlphaCheckpoint:
    layout = alpha_layout(source, held)
    return AlphaCheckpoint(*_common(source, layout), *alpha_state(source, layout.entries))


def _common(
    source: ByteSource, layout: Layout, *notes: str
) -> tuple[Path, str, tuple[int, int], Native | None, tuple[str, ...]]:
    """Return the first fields of every opened checkpoint."""
    for note in (*layout.notes, *notes):
        logger.warning("%s: %s", source.path, note)
    stamp = (source.stat.st_size, source.stat.st_mtime_ns)
    return source.path, layout.format, stamp, layout.native, (*layout.notes, *notes)


def discriminator_beside(generator: Path) -> Path | None:
    """Return the discriminator's file that ``pretrain`` wrote beside a generator's; None: none."""
    beside = generator.with_name(DISCRIMINATOR)
    return beside if generator.name == GENERATOR and beside.is_file() else None


def open_own_discriminator(
    path: Path | str,
    resolution: int,
    *,
    setting: str,
    instead: str,
    refusal: type[L4FError] = UsageError,
) -> DiscriminatorCheckpoint:
    """Open the discriminator in a generator's own file, for a key of the recipe that asks for it.

    ``setting`` is that key, and ``instead`` what to do without one, for the ``refusal`` where there
    is none, or one for another resolution.
    """
    remedy = f"{instead}, or give a checkpoint with both networks"
    try:
        opened = open_discriminator(path)
    except CheckpointRefused as error:
        raise refusal(setting, f"{path} gives none ({error.problem})", remedy) from error
    if opened.resolution != resolution:
        problem = f"the one in {path} takes {opened.resolution} px, images have {resolution}"
        raise refusal(setting, problem, remedy)
    return opened
