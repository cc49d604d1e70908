"""Which networks a container holds, in which code's layout, and how their tensors become ours."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import nvlabs, state_dicts, tensorflow
from .byte_source import ByteSource
from .containers import OPENED, Container
from .native import FORMAT, Native, read_metadata
from .shapes import agreed_clamp
from .stand_ins import ModuleRecord
from .tensors import FLATTEN, Entries, Entry, StoredTensor, rename

# Keys under which codes keep the generator as it was trained last.
LAST = ("G", "g", "generator", "netG", "net_g", "params", "state_dict", "model", "GAN")
LAST_USED = "it holds no averaged generator, so {} is used, the one last trained"


@dataclass(frozen=True)
class Layout:
    """One network of a file, not yet read."""

    # rosinality, basicsr, genforce, nvlabs-pytorch, nvlabs-tensorflow, labels4free or l4f-datagen
    format: str
    entries: Entries  # our key -> where its values are
    conv_clamp: float | None = None  # that the generator's layers clip at, None: they do not
    native: Native | None = None  # the metadata of our own files
    notes: tuple[str, ...] = ()  # what the user has to know about the choice


def checkpoint_kind(source: ByteSource, container: Container) -> str:
    """Return "alpha", "discriminator" or "generator": what the file is for."""
    if (native := _native(source, container, None)) and native.native:
        return native.native.kind
    return "alpha" if state_dicts.is_labels4free(container.loaded) else "generator"


def _native(source: ByteSource, container: Container, kind: str | None) -> Layout | None:
    """Return the layout of one of our own files, refused if it holds another kind of network."""
    metadata = container.metadata
    if metadata is None or metadata.get("format") != FORMAT:  # that of others is mostly "pt"
        return None
    native = read_metadata(source, metadata, kind)
    entries = {key: Entry(key, stored) for key, stored in container.tensors.items()}
    clamp = agreed_clamp(source, [native.spec.get("conv_clamp")])
    return Layout("l4f-datagen", entries, clamp, native)


def alpha_layout(source: ByteSource, container: Container) -> Layout:
    """Find the alpha network in a container."""
    loaded = container.loaded
    if native := _native(source, container, "alpha"):
        return native
    if isinstance(loaded, dict) and state_dicts.is_labels4free(loaded):
        return Layout("labels4free", state_dicts.alpha_entries(source, loaded))
    remedy = "give a file of `l4f-datagen train`, or one with bg_extractor_ema"
    raise source.refuse(f"holds no alpha network ({describe(loaded)})", remedy)


def discriminator_layout(source: ByteSource, container: Container) -> Layout:
    """Find the discriminator in a container."""
    loaded = container.loaded
    if native := _native(source, container, "discriminator"):
        return native
    if tensorflow.is_tensorflow(loaded):
        return Layout("nvlabs-tensorflow", tensorflow.discriminator_entries(source, loaded))
    held = loaded if isinstance(loaded, dict) else {}
    if isinstance(held.get("D"), ModuleRecord):
        tree = nvlabs.take_apart(source, held["D"], "D")
        return Layout("nvlabs-pytorch", nvlabs.discriminator_entries(source, tree, "D."))
    if tensors := state_dicts.tensors_of(held.get("d")):
        return Layout("rosinality", rename(source, tensors, state_dicts.DISCRIMINATOR, "d."))
    raise source.refuse(f"holds no StyleGAN2 discriminator ({describe(loaded)})", OPENED)


def generator_layout(
    source: ByteSource, container: Container, class_index: int | None = None
) -> Layout:
    """Find the generator to sample from; ``class_index`` fixes the class of a conditional one."""
    layout = _native(source, container, "generator")
    layout = layout or _foreign_generator(source, container.loaded, class_index)
    if class_index is not None and layout.format != "nvlabs-pytorch":
        raise source.refuse("has no classes to choose from", "leave the class out")
    return layout


def _foreign_generator(source: ByteSource, loaded: object, class_index: int | None) -> Layout:
    if tensorflow.is_tensorflow(loaded):
        match loaded:
            case (last, _, None):
                said = LAST_USED.format("G")
                parts = tensorflow.generator_entries(source, last)
                return Layout("nvlabs-tensorflow", *parts, notes=(said,))
        return Layout("nvlabs-tensorflow", *tensorflow.generator_entries(source, loaded))
    if state_dicts.is_labels4free(loaded):
        raise source.refuse("holds an alpha network, no generator", "give the generator's file")
    key, network, notes = _find_generator(loaded)
    prefix = f"{key}." if key else ""
    tensors = state_dicts.tensors_of(network)
    if isinstance(network, ModuleRecord):
        tree = nvlabs.take_apart(source, network, key or "network")
        if "input.input" not in tree.tensors:  # rosinality's modules hold a plain state dict
            parts = nvlabs.generator_entries(source, tree, prefix, class_index)
            return Layout("nvlabs-pytorch", *parts, notes=notes)
        tensors = tree.tensors
    found = state_dicts.generator_entries(source, tensors, prefix) if tensors else None
    if found is None:
        if isinstance(loaded, dict):
            state_dicts.refuse_other_codes(source, loaded)
        inside = f"; in {key} {describe(network)}" if key else ""
        problem = f"holds no StyleGAN2 generator ({describe(loaded)}{inside})"
        raise source.refuse(problem, OPENED)
    code, entries = found
    if code == "nvlabs-pytorch":
        # Networks of the ADA code clip at 256, older ones not at all; a state dict does not say.
        notes += ("it does not say where its layers clip, so none does",)
    average = loaded.get("latent_avg") if isinstance(loaded, dict) else None
    if isinstance(average, StoredTensor):
        # pSp and e4e repeat it for every layer: then it is computed, as of other files.
        if average.shape[:-1] in ((), (1,)):
            entries["w_avg"] = Entry("latent_avg", average, FLATTEN)
    elif average is not None:
        raise source.refuse("has a latent_avg that is no tensor", OPENED)
    return Layout(code, entries, notes=notes)


def _find_generator(loaded: object) -> tuple[str, object, tuple[str, ...]]:
    """Return the key of the generator to sample from, its object, and notes on the choice."""
    if isinstance(loaded, dict) and state_dicts.tensors_of(loaded) is None:
        for key in state_dicts.AVERAGED:
            if loaded.get(key) is not None:
                return key, loaded[key], ()
        for key in LAST:
            if isinstance(loaded.get(key), dict | ModuleRecord):
                return key, loaded[key], (LAST_USED.format(key),)
    return "", loaded, ()


def describe(loaded: object) -> str:
    """Return one phrase on what a foreign object is: its keys, or its type."""
    if isinstance(loaded, Mapping):
        keys = [str(key)[:30] for key in list(loaded)[:8]]
        more = len(loaded) - len(keys)
        return "its keys are " + ", ".join(keys) + (f" and {more} more" if more > 0 else "")
    return f"it is a {type(loaded).__name__}"
