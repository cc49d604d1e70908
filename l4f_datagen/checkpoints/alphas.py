"""Alpha networks in our files and in those of the Labels4Free authors' code; what a file is for."""

from . import labels4free
from .containers import SafeFile, TorchFile
from .generators import Container, Layout, describe
from .native import native_entries, read_metadata
from .storage import ByteSource


def alpha_layout(source: ByteSource, container: Container) -> Layout:
    """Find the alpha network in a container.

    Raises:
        CheckpointRefused: there is none; says what is there.
    """
    if isinstance(container, SafeFile):
        native = read_metadata(source, container.metadata, "alpha")
        return Layout("l4f-datagen", native_entries(container.tensors), None, native)
    loaded = container.loaded
    if isinstance(container, TorchFile) and labels4free.is_labels4free(loaded):
        assert isinstance(loaded, dict)
        return Layout("labels4free", labels4free.alpha_entries(source, loaded))
    raise source.refuse(
        f"holds no alpha network ({describe(loaded)})",
        "give a file of `l4f-datagen train`, or one with bg_extractor_ema",
    )


def checkpoint_kind(source: ByteSource, container: Container) -> str:
    """Return "alpha", "discriminator" or "generator": what the file is for.

    Raises:
        CheckpointRefused: a safetensors file that is not ours.
    """
    if isinstance(container, SafeFile):
        return read_metadata(source, container.metadata, None).kind
    return "alpha" if labels4free.is_labels4free(container.loaded) else "generator"
