"""StyleGAN2 networks in NVIDIA's TensorFlow pickles (stylegan2, stylegan2-ada), without TensorFlow.

A file is the tuple (G, D, Gs); Gs is the averaged generator. The key names are facts of the
format; the code is ours.
"""

import struct

import torch

from . import tensors as stored
from .byte_source import ByteSource, Span
from .shapes import LAYERS, RGB_LAYERS, SUPPORTED, agreed_clamp, check_options
from .stand_ins import TENSORFLOW_NETWORK, ArrayRecord, Record, show
from .state_dicts import discriminator_places, mapping_places, noise_rules, refuse_other_codes
from .tensors import KEEP, KERNEL_LAST, TRANSPOSE, Entries, Rules, StoredTensor, rename, rules_of

MAX_DEPTH = 3  # Gs holds the synthesis and the mapping network, which hold none
MAX_COMPONENTS = 16  # of one network; there are two
# Options that must be what StyleGAN2 has, where a file states them: our layers have them built in.
FIXED = (
    (r"Gs.*", "architecture", "skip"),
    (r"D.*", "architecture", "resnet"),
    (r".*", "resample_kernel", [1, 3, 3, 1]),
    (r".*", "nonlinearity", "lrelu"),
    (r".*", "mapping_nonlinearity", "lrelu"),
    (r".*", "mapping_lrmul", 0.01),
    (r".*", "normalize_latents", True),
    (r".*", "use_noise", True),
    (r".*", "mbstd_group_size", 4),
    (r".*", "mbstd_num_features", 1),
)


def is_tensorflow(loaded: object) -> bool:
    """Whether the object of a pickle is a snapshot or a network of NVIDIA's TensorFlow code."""
    items = loaded if isinstance(loaded, tuple) else (loaded,)
    return any(isinstance(item, Record) and item.name == TENSORFLOW_NETWORK for item in items)


def generator_entries(source: ByteSource, loaded: object) -> tuple[Entries, float | None]:
    """Return our key -> entry of Gs, and the bound that its layers clip at."""
    variables, clamp = _network(source, loaded, 2, "Gs", "Gs, the averaged generator")
    return rename(source, variables, _generator_rules(), "Gs.", SUPPORTED), clamp


def discriminator_entries(source: ByteSource, loaded: object) -> Entries:
    """Return our key -> entry of D."""
    variables, _ = _network(source, loaded, 1, "D", "D, the discriminator")
    parts = "Conv0 Conv1_down Skip FromRGB Conv Dense0"
    places = discriminator_places(variables, "{0}x{0}/", parts) | {"Output": "out"}
    dense = {theirs: ours for theirs, ours in places.items() if ours in ("fc", "out")}
    rules = rules_of(places, {"weight": ("weight", KERNEL_LAST), "bias": ("bias", KEEP)}, "/")
    rules |= rules_of(dense, {"weight": ("weight", TRANSPOSE)}, "/")
    return rename(source, variables, rules, "D.", SUPPORTED)


def _network(
    source: ByteSource, loaded: object, index: int, place: str, what: str
) -> tuple[dict[str, StoredTensor], float | None]:
    """Return the variables of one network and its components, and the bound that they clip at."""
    parts = loaded if isinstance(loaded, tuple) else (loaded,) * 3
    variables: dict[str, StoredTensor] = {}
    clamps: list[object] = []
    waiting = [(parts[index] if len(parts) == 3 else None, 0)]
    while waiting:
        network, depth = waiting.pop()
        state = network.state if is_tensorflow(network) and isinstance(network, Record) else None
        if not isinstance(state, dict) or depth > MAX_DEPTH or len(waiting) > MAX_COMPONENTS:
            raise source.refuse(f"has no {what}", SUPPORTED)
        options, values = state.get("static_kwargs"), state.get("variables")
        components = state.get("components", {})
        inside = components.values() if isinstance(components, dict) else None
        if not isinstance(options, dict) or not isinstance(values, list) or inside is None:
            raise source.refuse(f"has a network without options or variables for {what}", SUPPORTED)
        waiting += [(component, depth + 1) for component in inside]
        for pair in values:
            match pair:
                case (str(name), _) if name in variables:
                    raise source.refuse(f"holds the variable {name!r} twice", SUPPORTED)
                case (str(name), StoredTensor() as tensor):
                    variables[name] = tensor
                case (str(name), ArrayRecord(tensor=StoredTensor() as tensor)):
                    variables[name] = tensor
                case (str(name), int() | float() as number):
                    inline = Span(source, 0, 8, struct.pack("<d", number))
                    variables[name] = StoredTensor(inline, torch.float64, (), ())
                case (str(name), _):
                    raise source.refuse(f"has the variable {name!r} that is no array", SUPPORTED)
                case _:
                    raise source.refuse(f"has a damaged variable in {what}", SUPPORTED)
        labels = options.get("label_size", 0)
        if labels or any(name.startswith("Label") for name in variables):
            problem = f"is class-conditional (label_size = {show(labels)}), in TensorFlow's way"
            raise source.refuse(problem, SUPPORTED)
        check_options(source, {place: options}, FIXED)
        clamps.append(options.get("conv_clamp"))
    refuse_other_codes(source, variables)
    variables.pop("lod", None)  # the level of detail of progressive growing, of no use here
    return variables, agreed_clamp(source, [clamp for clamp in clamps if clamp is not None])


def _generator_rules() -> Rules:
    parts = {
        "weight": ("weight", KERNEL_LAST),
        "bias": ("bias", KEEP),
        "mod_weight": ("affine.weight", TRANSPOSE),
        "mod_bias": ("affine.bias", stored.PLUS_ONE),
        "noise_strength": ("noise_strength", stored.SCALAR),
    }
    dense = {"weight": ("weight", TRANSPOSE), "bias": ("bias", KEEP)}
    names = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}
    places = {"4x4/Conv": "synthesis.b4.conv1"}
    for layer in [*LAYERS[1:], *RGB_LAYERS]:
        side, kind = layer.removeprefix("b").split(".")
        places[f"{side}x{side}/{names[kind]}"] = f"synthesis.{layer}"
    upward = {theirs: ours for theirs, ours in places.items() if theirs.endswith("_up")}
    return {
        "dlatent_avg": ("w_avg", KEEP),
        "4x4/Const/const": ("synthesis.b4.const", stored.DROP_FIRST),
        **rules_of(mapping_places("Dense{}"), dense, "/"),
        **rules_of(places, parts, "/"),
        **rules_of(upward, {"weight": ("weight", stored.KERNEL_LAST_MIRRORED)}, "/"),
        **noise_rules("noise{}"),
    }
