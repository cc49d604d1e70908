"""Which network layout a container holds, and how its tensors become ours."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import labels4free, nvlabs, rosinality, tensorflow
from .assembly import Entries
from .containers import PickleFile, SafeFile, TorchFile
from .native import Native, native_entries, read_metadata
from .storage import ByteSource

REMEDY = "the README lists what can be opened"


@dataclass(frozen=True)
class Layout:
    """One network of a file, not yet read.

    Attributes:
        format: rosinality, nvlabs-pytorch, nvlabs-tensorflow or l4f-datagen.
        entries: our key -> where its values are.
        conv_clamp: bound that the generator's layers clip at, None for none.
        native: the metadata of our own files.
    """

    format: str
    entries: Entries
    conv_clamp: float | None = None
    native: Native | None = None


Container = TorchFile | PickleFile | SafeFile


def generator_layout(
    source: ByteSource, container: Container, class_index: int | None = None
) -> Layout:
    """Find the generator to sample from in a container.

    Args:
        source: the file.
        container: what is in it.
        class_index: for class-conditional networks, the class to fix.

    Raises:
        CheckpointRefused: there is none, or one this tool does not support; says why.
    """
    if isinstance(container, PickleFile) and nvlabs.is_nvlabs(container.loaded):
        assert isinstance(container.loaded, dict)
        parts = nvlabs.generator_entries(source, container.loaded, class_index)
        return Layout("nvlabs-pytorch", *parts)
    if class_index is not None:
        raise source.refuse("has no classes to choose from", "leave the class out")
    if isinstance(container, SafeFile):
        native = read_metadata(source, container.metadata, "generator")
        entries = native_entries(container.tensors)
        return Layout("l4f-datagen", entries, _clamp(source, native), native)
    loaded = container.loaded
    if isinstance(container, PickleFile) and tensorflow.is_tensorflow(loaded):
        assert isinstance(loaded, tuple)
        return Layout("nvlabs-tensorflow", *tensorflow.generator_entries(source, loaded))
    if labels4free.is_labels4free(loaded):
        raise source.refuse("holds an alpha network, no generator", "give the generator's file")
    if isinstance(container, TorchFile) and rosinality.is_rosinality(loaded):
        assert isinstance(loaded, dict)
        return Layout("rosinality", rosinality.generator_entries(source, loaded))
    raise source.refuse(f"holds no StyleGAN2 generator ({describe(loaded)})", REMEDY)


def discriminator_layout(source: ByteSource, container: Container) -> Layout:
    """Find the discriminator in a container.

    Raises:
        CheckpointRefused: there is none, or one this tool does not support; says why.
    """
    if isinstance(container, SafeFile):
        native = read_metadata(source, container.metadata, "discriminator")
        return Layout("l4f-datagen", native_entries(container.tensors), None, native)
    loaded = container.loaded
    if isinstance(container, PickleFile) and nvlabs.is_nvlabs(loaded):
        assert isinstance(loaded, dict)
        return Layout("nvlabs-pytorch", nvlabs.discriminator_entries(source, loaded))
    if isinstance(container, PickleFile) and tensorflow.is_tensorflow(loaded):
        assert isinstance(loaded, tuple)
        return Layout("nvlabs-tensorflow", tensorflow.discriminator_entries(source, loaded))
    if isinstance(container, TorchFile) and rosinality.is_rosinality(loaded):
        assert isinstance(loaded, dict)
        return Layout("rosinality", rosinality.discriminator_entries(source, loaded))
    raise source.refuse(f"holds no StyleGAN2 discriminator ({describe(loaded)})", REMEDY)


def describe(loaded: object) -> str:
    """Return one phrase on what a foreign object is: its keys, or its type."""
    if isinstance(loaded, Mapping):
        keys = [str(key)[:30] for key in list(loaded)[:8]]
        more = len(loaded) - len(keys)
        return "its keys are " + ", ".join(keys) + (f" and {more} more" if more > 0 else "")
    return f"it is a {type(loaded).__name__}"


def _clamp(source: ByteSource, native: Native) -> float | None:
    clamp = native.spec.get("conv_clamp")
    if clamp is None:
        return None
    if isinstance(clamp, bool) or not isinstance(clamp, int | float) or not 0 < clamp < 1e9:
        raise source.refuse(f"has the conv_clamp {clamp!r}", "write the file again")
    return float(clamp)
