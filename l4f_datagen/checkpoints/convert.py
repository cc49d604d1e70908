"""Say what a checkpoint is, and write it as one of our self-describing files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from l4f_datagen.core.errors import UsageError

from .native import Facts, save_alpha, save_discriminator, save_generator
from .open import AlphaCheckpoint, AnyCheckpoint, GeneratorCheckpoint, open_checkpoint


def checkpoint_facts(path: Path | str, class_index: int | None = None) -> dict[str, Any]:
    """Return what can be said about a checkpoint, as plain values for text or JSON."""
    checkpoint = open_checkpoint(path, class_index)
    facts: dict[str, Any] = {
        "file": str(checkpoint.path),
        "kind": checkpoint.kind,
        "format": checkpoint.format,
        "parameters": checkpoint.num_parameters,
        "sha256": checkpoint.sha256,
        "licence": asdict(checkpoint.licence) if checkpoint.licence else None,
        "origin": checkpoint.origin,
        "notes": list(checkpoint.notes),
        "channels": {str(side): width for side, width in sorted(checkpoint.channels.items())},
    }
    if isinstance(checkpoint, GeneratorCheckpoint):
        sizes = ("resolution", "z_dim", "w_dim", "num_ws", "mapping_layers", "conv_clamp")
        facts |= {name: getattr(checkpoint.spec, name) for name in sizes}
        facts |= {"class": checkpoint.class_index, "image_channels": checkpoint.image_channels}
        facts |= {"w_avg": checkpoint.has_w_avg, "noise_buffers": checkpoint.has_noise}
        facts["fingerprint"] = checkpoint.fingerprint
    elif isinstance(checkpoint, AlphaCheckpoint):
        sides = list(checkpoint.resolutions)
        facts |= {"resolution": sides[-1], "resolutions": sides}
        facts["generator_fingerprint"] = checkpoint.generator_fingerprint
    else:
        facts["resolution"] = checkpoint.resolution
    if checkpoint.native:
        facts["source_sha256"] = checkpoint.native.source_sha256
        facts["training"] = dict(checkpoint.native.training)
    return facts


def convert(
    path: Path | str,
    out: Path | str,
    *,
    class_index: int | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> AnyCheckpoint:
    """Write any checkpoint as one of our files, ``.safetensors``; images stay bit-identical.

    What the source lacks (mean of w, noise maps) is fixed in the file. Licence and origin are
    carried along, and so is the source's hash. ``class_index`` fixes the class of a conditional
    network; in ``half`` precision images move by about one level.

    CheckpointRefused where the source cannot be opened, UsageError where ``out`` exists or is no
    ``.safetensors``, L4FError where it cannot be written.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UsageError(str(out), "has another suffix than .safetensors", "name it so")
    if out.exists() and not overwrite:
        raise UsageError(str(out), "exists", "choose another name, or --overwrite")
    checkpoint = open_checkpoint(path, class_index)
    native = checkpoint.native
    facts: Facts = {
        "licence": checkpoint.licence,
        "origin": checkpoint.origin or checkpoint.path.name,
        "training": native.training if native else None,
        # A copy of a copy still names the file that the weights once came in.
        "source_sha256": (native and native.source_sha256) or checkpoint.sha256,
        "generator_fingerprint": native.generator_fingerprint if native else None,
        "half": half,
    }
    if isinstance(checkpoint, GeneratorCheckpoint):
        save_generator(out, checkpoint.spec, checkpoint.complete_state, **facts)
    elif isinstance(checkpoint, AlphaCheckpoint):
        save_alpha(out, checkpoint.build(), **facts)
    else:
        save_discriminator(out, checkpoint.build(), **facts)
    return checkpoint
