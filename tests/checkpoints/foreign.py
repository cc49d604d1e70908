"""Writes small checkpoints in every layout people have, from our own networks.

The containers are made by the real writers (torch.save, pickle, NumPy); only the key names and the
class names of the foreign code are reproduced, with empty stand-in classes.
"""

import argparse
import pickle
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import Parameter

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator, GeneratorSpec

FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
UNEVEN = {4: 6, 8: 5, 16: 3}


def make_generator(seed=0, **changes):
    """A generator that no default fits, with every tensor drawn, also those that start at zero."""
    fields = {"channels": UNEVEN, "z_dim": 5, "w_dim": 7, "mapping_layers": 3, **changes}
    spec = GeneratorSpec(max(fields["channels"]), **fields)
    torch.manual_seed(seed)
    generator = Generator(spec).eval().requires_grad_(False)
    for name, tensor in generator.state_dict().items():
        if name.endswith(("bias", "w_avg")):
            tensor += torch.randn(tensor.shape)
        if name.endswith("noise_strength"):
            tensor += 0.5 + torch.rand(())
    return generator


def make_discriminator(resolution=16):
    torch.manual_seed(0)
    channels = {4 << k: 3 + k for k in range(resolution.bit_length() - 2)}
    discriminator = Discriminator(resolution, channels).eval().requires_grad_(False)
    for name, tensor in discriminator.state_dict().items():
        if name.endswith("bias"):
            tensor += torch.randn(tensor.shape)
    return discriminator


def make_alpha(seed=0, sides=(8, 16)):
    torch.manual_seed(seed)
    channels = {side: 2 + k for k, side in enumerate(sides)}
    return AlphaNetwork(channels, list(sides)).eval().requires_grad_(False)


def synthesis_layers(generator):
    """Level, part, how many convolutions come before, and our name, of every layer in turn."""
    index = 0
    for level, side in enumerate(generator.spec.resolutions):
        for part in ("conv0", "conv1", "torgb") if level else ("conv1", "torgb"):
            yield level, part, index, f"synthesis.b{side}.{part}"
            index += part != "torgb"


# ---------------------------------------------------------------------------------- rosinality


def rosinality_state(generator, kernels=True):
    """``g_ema`` in rosinality's layout."""
    state = generator.state_dict()
    out = OrderedDict()
    for k in range(generator.spec.mapping_layers):
        for part in ("weight", "bias"):
            out[f"style.{k + 1}.{part}"] = state[f"mapping.fc.{k}.{part}"]
    out["input.input"] = state["synthesis.b4.const"][None]
    for level, part, index, ours in synthesis_layers(generator):
        if part == "torgb":
            theirs, kernel = (f"to_rgbs.{level - 1}", "upsample") if level else ("to_rgb1", None)
            out[f"{theirs}.bias"] = state[f"{ours}.bias"].reshape(1, 3, 1, 1)
        else:
            theirs = f"convs.{index - 1}" if level else "conv1"
            kernel = "conv.blur" if part == "conv0" else None
            out[f"{theirs}.noise.weight"] = state[f"{ours}.noise_strength"].reshape(1)
            out[f"{theirs}.activate.bias"] = state[f"{ours}.bias"]
            out[f"noises.noise_{index}"] = state[f"{ours}.noise_const"][None, None]
        out[f"{theirs}.conv.weight"] = state[f"{ours}.weight"][None]
        out[f"{theirs}.conv.modulation.weight"] = state[f"{ours}.affine.weight"]
        out[f"{theirs}.conv.modulation.bias"] = state[f"{ours}.affine.bias"]
        if kernels and kernel:
            out[f"{theirs}.{kernel}.kernel"] = FILTER * 4
    return out


def rosinality_discriminator(discriminator):
    """``d`` in rosinality's layout."""
    state = discriminator.state_dict()
    out = OrderedDict()
    # Places of weight and bias; a bias may belong to a layer of its own.
    ends = {"from_rgb": ("convs.0.0", "convs.0.1"), "conv": ("final_conv.0", "final_conv.1")}
    ends |= {"fc": ("final_linear.0",) * 2, "out": ("final_linear.1",) * 2}
    parts = {"conv0": ("conv1.0", "conv1.1"), "conv1": ("conv2.1", "conv2.2"), "skip": ("skip.1",)}
    for name, tensor in state.items():
        *path, layer, kind = name.split(".")
        places = parts[layer] if path else ends[layer]
        prefix = f"convs.{int(path[1]) + 1}." if path else ""
        out[f"{prefix}{places[kind == 'bias']}.{kind}"] = tensor
    for level in range(1, len(discriminator.blocks) + 1):
        out[f"convs.{level}.conv2.0.kernel"] = FILTER
        out[f"convs.{level}.skip.0.kernel"] = FILTER
    return out


def rosinality_converted(generator):
    return {"g_ema": rosinality_state(generator), "latent_avg": generator.w_avg}


def rosinality_trained(generator, discriminator):
    """What a training run saves: optimizers, options, no mean of w."""
    other = make_generator(seed=99, channels=dict(generator.spec.channels))
    weight = Parameter(torch.randn(4, 4))
    optimizer = torch.optim.Adam([weight], lr=0.002, betas=(0.0, 0.99))
    weight.sum().backward()
    optimizer.step()
    return {
        "g": rosinality_state(other),
        "d": rosinality_discriminator(discriminator),
        "g_ema": rosinality_state(generator),
        "g_optim": optimizer.state_dict(),
        "d_optim": optimizer.state_dict(),
        "args": argparse.Namespace(size=generator.spec.resolution, mixing=0.9, ckpt=None),
        "ada_aug_p": 0.0,
    }


def basicsr_state(generator):
    """The state of BasicSR's code: rosinality's with other names."""
    out = {}
    for name, tensor in rosinality_state(generator, kernels=False).items():
        name = name.replace("style.", "style_mlp.").replace("input.input", "constant_input.weight")
        name = name.replace("noises.noise_", "noises.noise").replace("noise.weight", "weight")
        if not name.startswith("style_mlp"):
            name = name.replace("conv.", "modulated_conv.")
        out[f"style_{name}" if name.startswith("conv") else name] = tensor
    return out


def genforce_state(generator):
    """The state of genforce's code: TensorFlow's conventions, mirrored kernels and bias - 1."""
    state = generator.state_dict()
    out = {
        "synthesis.early_layer.const": state["synthesis.b4.const"][None],
        "synthesis.upsample.kernel": FILTER[None, None] * 4,
        "truncation.w_avg": state["w_avg"],
    }
    for level, part, index, ours in synthesis_layers(generator):
        theirs = f"synthesis.output{level}" if part == "torgb" else f"synthesis.layer{index}"
        weight = state[f"{ours}.weight"]
        out[f"{theirs}.weight"] = weight.flip(2, 3) if part == "conv0" else weight
        out[f"{theirs}.bias"] = state[f"{ours}.bias"]
        out[f"{theirs}.style.weight"] = state[f"{ours}.affine.weight"]
        out[f"{theirs}.style.bias"] = state[f"{ours}.affine.bias"] - 1
        if part != "torgb":
            out[f"{theirs}.noise_strength"] = state[f"{ours}.noise_strength"]
            out[f"{theirs}.noise"] = state[f"{ours}.noise_const"][None, None]
    for k in range(generator.spec.mapping_layers):
        for part in ("weight", "bias"):
            out[f"mapping.dense{k}.{part}"] = state[f"mapping.fc.{k}.{part}"]
    return out


def nvlabs_state(generator):
    """The state dict of a network of NVIDIA's PyTorch code."""
    state = generator.state_dict()
    state = {key.replace("mapping.fc.", "mapping.fc"): value for key, value in state.items()}
    state["mapping.w_avg"] = state.pop("w_avg")
    return {**state, "synthesis.b8.conv0.resample_filter": FILTER}


class _Part(torch.nn.Module):
    """A module of rosinality's code, whatever its class: it only holds parts."""

    __module__, __qualname__ = "model", "Generator"


def rosinality_module(generator):
    """The whole generator as modules, as ``torch.save(g_ema)`` of rosinality's code stores it."""
    root = _Part()
    for name, tensor in rosinality_state(generator).items():
        place, (*path, leaf) = root, name.split(".")
        for part in path:
            if part not in place._modules:
                place.add_module(part, _Part())
            place = place.get_submodule(part)
        if name.startswith("noises.") or leaf == "kernel":
            place.register_buffer(leaf, tensor)
        else:
            place.register_parameter(leaf, Parameter(tensor, False))
    return root


# -------------------------------------------------------------------------- NVIDIA, PyTorch


class Persistent:
    """Pickles like an object of NVIDIA's persistent classes."""

    def __init__(self, class_name, state):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise RuntimeError('never to be run')\n",
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,)


def _reconstruct_persistent_obj(meta):
    raise RuntimeError("never to be called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


BUFFERS = ("resample_filter", "noise_const", "w_avg")


def _tree(state, attributes, place=""):
    """Modules of NVIDIA's code from dotted names; ``attributes`` of each by its place."""
    own = {key: value for key, value in state.items() if "." not in key}
    parts = {}
    for name, _, rest in (key.partition(".") for key in state if "." in key):
        parts.setdefault(name, {})[rest] = state[f"{name}.{rest}"]
    modules = {name: _tree(part, attributes, f"{place}.{name}") for name, part in parts.items()}
    parameters = {key: Parameter(value, False) for key, value in own.items() if key not in BUFFERS}
    held = {
        "training": False,
        "_parameters": OrderedDict(parameters),
        "_buffers": OrderedDict((key, own[key]) for key in BUFFERS if key in own),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict(modules),
        "_init_args": (),
        "_init_kwargs": {},
    }
    return Persistent("Module", held | attributes(place))


def ada_generator(generator, *, channels_last=False, classes=None, architecture="skip", **layer):
    """``G_ema`` in NVIDIA's layout.

    ``classes`` are weight and bias of the embedding, and the first mapping weight with its columns;
    ``layer`` are attributes to set in all synthesis layers.
    """
    spec = generator.spec
    state = nvlabs_state(generator)
    if classes:
        names = ("mapping.embed.weight", "mapping.embed.bias", "mapping.fc0.weight")
        state |= dict(zip(names, classes, strict=True))
    if channels_last:
        for key in [key for key, value in state.items() if value.dim() == 4]:
            state[key] = state[key].to(memory_format=torch.channels_last)
    c_dim = classes[0].shape[1] if classes else 0
    clip = {"conv_clamp": spec.conv_clamp}
    conv = {"activation": "lrelu", "use_noise": True, **clip}
    known = {
        "": {"z_dim": spec.z_dim, "c_dim": c_dim, "img_channels": 3},
        "conv0": {**conv, "up": 2, **layer},
        "conv1": {**conv, "up": 1, **layer},
        "torgb": clip,
        "affine": {"activation": "linear", "bias_gain": 1},
        "fc": {"activation": "lrelu", "bias_gain": 0.01},
        "b": {"architecture": architecture},
    }

    def attributes(place):
        kind = place.rpartition(".")[2]
        return known.get(kind) or known.get(kind.rstrip("0123456789"), {})

    return _tree(state, attributes)


def ada_discriminator(discriminator):
    """``D`` in NVIDIA's layout."""
    state, side = {}, discriminator.resolution
    for key, value in discriminator.state_dict().items():
        head, _, rest = key.partition(".")
        block, _, part = rest.partition(".")
        place = f"b{side >> int(block)}.{part}" if block.isdigit() else f"b4.{key}"
        state[f"b{side}.fromrgb.{rest}" if head == "from_rgb" else place] = value
    state["b8.conv1.resample_filter"] = FILTER

    def attributes(place):
        block = place.count(".") == 1
        return {"architecture": "resnet"} if block else {} if place else {"c_dim": 0}

    return _tree(state, attributes)


def ada_snapshot(g_ema, d=None):
    return {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "max_size": 9},
        "G": ada_generator(make_generator(seed=77)),
        "D": d or ada_discriminator(make_discriminator()),
        "G_ema": g_ema,
        "augment_pipe": None,
    }


# ----------------------------------------------------------------------- NVIDIA, TensorFlow


class EasyDict(dict):
    """Pickles as a subclass of dict of NVIDIA's code."""

    __module__ = "dnnlib.util"


class Network:
    """Pickles as a network of NVIDIA's TensorFlow code."""

    __module__ = "dnnlib.tflib.network"

    def __init__(self, name, variables, **more):
        self.__dict__ = {
            "version": 4,
            "name": name,
            "static_kwargs": EasyDict(num_channels=3, label_size=0, **more.pop("options", {})),
            "components": EasyDict(more.pop("components", {})),
            "build_module_src": "raise RuntimeError('never to be run')\n",
            "build_func_name": name,
            "variables": list(variables.items()),
        }


def tf_generator(generator, **options):
    """Gs in TensorFlow's layout: dense (in, out), kernels (h, w, in, out), Conv0_up mirrored."""
    state = {key: value.numpy() for key, value in generator.state_dict().items()}
    spec, variables, dense = generator.spec, {}, {}
    names = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}
    for level, part, index, ours in synthesis_layers(generator):
        weight = state[f"{ours}.weight"]
        weight = weight[:, :, ::-1, ::-1] if part == "conv0" else weight
        theirs = names[part] if level or part == "torgb" else "Conv"
        place = f"{4 << level}x{4 << level}/{theirs}"
        variables[f"{place}/weight"] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        variables[f"{place}/mod_weight"] = state[f"{ours}.affine.weight"].T.copy()
        variables[f"{place}/mod_bias"] = state[f"{ours}.affine.bias"] - 1
        variables[f"{place}/bias"] = state[f"{ours}.bias"]
        if part != "torgb":
            variables[f"{place}/noise_strength"] = np.float32(state[f"{ours}.noise_strength"])
            variables[f"noise{index}"] = state[f"{ours}.noise_const"][None, None]
    variables["4x4/Const/const"] = state["synthesis.b4.const"][None]
    for k in range(spec.mapping_layers):
        dense[f"Dense{k}/weight"] = state[f"mapping.fc.{k}.weight"].T.copy()
        dense[f"Dense{k}/bias"] = state[f"mapping.fc.{k}.bias"]
    options = {"resolution": spec.resolution, **options}
    components = {
        "synthesis": Network("G_synthesis", variables, options=options),
        "mapping": Network("G_mapping", dense, options=options),
    }
    own = {"lod": np.float32(0), "dlatent_avg": state["w_avg"]}
    return Network("Gs", own, components=components, options=options)


def tf_discriminator(discriminator):
    """D in TensorFlow's layout."""
    state = {key: value.numpy() for key, value in discriminator.state_dict().items()}
    parts = {"conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
    ends = {"conv": "4x4/Conv", "fc": "4x4/Dense0", "out": "Output"}
    ends["from_rgb"] = f"{discriminator.resolution}x{discriminator.resolution}/FromRGB"
    variables = {}
    for name, value in state.items():
        stored = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        *block, layer, kind = name.split(".")
        side = discriminator.resolution >> int(block[1]) if block else None
        place = f"{side}x{side}/{parts[layer]}" if block else ends[layer]
        variables[f"{place}/{kind}"] = np.ascontiguousarray(stored)
    return Network("D", variables)


def tf_snapshot(generator, discriminator, **options):
    return (
        tf_generator(make_generator(seed=55)),
        tf_discriminator(discriminator),
        tf_generator(generator, **options),
    )


# --------------------------------------------------------------------------- Labels4Free


def labels4free_state(network, lists):
    """An alpha network in one of the two class layouts of the authors' code."""
    out = {}
    for name, tensor in network.state_dict().items():
        kind, *side, part = name.split(".")
        level = network.resolutions.index(int(side[0])) if side else 0
        if kind == "out":
            place = "conv_n"
        elif kind == "merge":
            number = level if level > 1 else ""
            place = f"conv_merge_fns.{level - 1}" if lists else f"conv_next{number}"
        else:
            second = int(kind == "second")
            place = f"conv_fns{second}.{level}" if lists else f"conv{2 * level + 1 + second}"
        out[f"{place}.{part}"] = tensor
    return out


def labels4free_snapshot(network, lists=False, prefix=""):
    live = labels4free_state(make_alpha(seed=9, sides=tuple(network.resolutions)), lists)
    state = labels4free_state(network, lists)
    return {
        "g": {},
        "d": {},
        "bg_extractor": {f"module.{key}": value for key, value in live.items()},
        "bg_extractor_ema": {prefix + key: value for key, value in state.items()},
        "g_optim": {"state": {}, "param_groups": []},
        "args": argparse.Namespace(size=network.resolutions[-1], lr=0.002),
        "ada_aug_p": 0.0,
    }


# --------------------------------------------------------------------------------- writing


@contextmanager
def foreign_modules():
    """Pretend that the foreign packages are importable, which pickle wants of what it writes."""
    made = {name: types.ModuleType(name) for name in ("torch_utils", "dnnlib", "dnnlib.tflib")}
    for one in (_reconstruct_persistent_obj, EasyDict, Network, _Part):
        module = made.setdefault(one.__module__, types.ModuleType(one.__module__))
        setattr(module, one.__qualname__, one)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def write_pickle(path, value, protocol=4):
    with foreign_modules(), path.open("wb") as file:
        pickle.dump(value, file, protocol=protocol)
    return path


def write_torch(path, value, legacy=False):
    with foreign_modules():
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def every_format(folder, generator):
    """Write a generator in every format that `make` opens: name, which begins with it -> file."""
    discriminator = make_discriminator()
    trained = rosinality_trained(generator, discriminator)
    snapshot = tf_snapshot(generator, discriminator, conv_clamp=generator.spec.conv_clamp)
    save_generator(folder / "native", generator.spec, generator.state_dict())
    return {
        "l4f-datagen": folder / "native",
        "rosinality": write_torch(folder / "zip", rosinality_converted(generator)),
        "rosinality trained": write_torch(folder / "trained", trained),
        "rosinality legacy": write_torch(folder / "old", trained, legacy=True),
        "nvlabs-pytorch": write_pickle(folder / "ada", ada_snapshot(ada_generator(generator))),
        "nvlabs-tensorflow": write_pickle(folder / "tf", snapshot),
    }
