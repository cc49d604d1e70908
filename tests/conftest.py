"""Tiny networks and samples, made by factories; every weight is drawn, so that none is left out."""

import hashlib
import logging
import os
from pathlib import Path

import discs as noisy_discs
import numpy as np
import pytest
import reference as in_numpy
import serving as servers
import torch
from click.testing import CliRunner

from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.sample import Sample, sample_key
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions
from l4f_datagen.models.generator import Generator, GeneratorSpec
from l4f_datagen.recipe import AlphaPart

torch.set_num_threads(1)
# Commands in processes of their own too: two workers of two threads each share two cores badly.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FULL_DISK = Path("/dev/full")

WIDTHS = {4: 6, 8: 5, 16: 4, 32: 3}
"""A different width at every resolution: mixed-up channels cannot pass unseen."""

DECIDED = 10.0
"""Times an untrained network's last layer: mattes are no longer grey, masks at 0.5 are the same."""


@pytest.fixture(autouse=True)
def usual_process():
    """Commands set the level of messages, and flush denormals, which other tests generate."""
    yield
    logger = logging.getLogger("l4f_datagen")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    torch.set_flush_denormal(False)


@pytest.fixture
def fill_disk():
    """Make the disk full for the next write of a file that is staged."""
    if not FULL_DISK.exists():
        pytest.skip(f"no {FULL_DISK} here")
    return lambda path: path.with_name(f"{path.name}.part").symlink_to(FULL_DISK)


@pytest.fixture
def make_generator():
    def make(resolution=16, *, seed=0, noise=0.4, conv_clamp=None, mapping_layers=2):
        widths = {side: width for side, width in WIDTHS.items() if side <= resolution}
        small = {"z_dim": 8, "w_dim": 8, "mapping_layers": mapping_layers}
        spec = GeneratorSpec(resolution, widths, conv_clamp=conv_clamp, **small)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = Generator(spec)
            for name, parameter in generator.named_parameters():
                if name.endswith("noise_strength"):
                    torch.nn.init.constant_(parameter, noise)
                elif name.endswith("bias"):
                    scale = 20.0 if name.startswith("mapping") else 0.3
                    parameter.data += scale * torch.randn_like(parameter)
            generator.w_avg.copy_(0.5 * torch.randn(spec.w_dim))
        return generator.eval().requires_grad_(False)

    return make


@pytest.fixture
def generator_file(tmp_path, make_generator):
    """A file of a 16 px generator."""
    generator = make_generator(16)
    path = tmp_path / "g.safetensors"
    save_generator(path, generator.spec, generator.state_dict())
    return path


@pytest.fixture
def make_alpha():
    def make(generator, resolutions=None, *, seed=1):
        named = resolutions or alpha_resolutions(generator.spec.resolution)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = AlphaNetwork(generator.spec.channels, named)
        return network.eval().requires_grad_(False)

    return make


@pytest.fixture
def make_part():
    def make(background="conv1", lowest_resolution=None, **training):
        tiny = {"steps": 6, "batch": 2, "seed": 3, "d_reg_interval": 2, "snapshot_interval": 3}
        tiny |= {"balance": "fixed", "self_training": 0, "area_weight": 0, "binarization_ramp": 0}
        tiny |= {"decay_from": 1, "ema_steps": 0, "keep": "last", "attempts": 1}
        part = {"background": background, "lowest_resolution": lowest_resolution}
        return AlphaPart.model_validate(part | {"training": tiny | training})

    return make


@pytest.fixture
def make_sample():
    def make(image_id=1, psi=0.7, seed=5, *, alpha=None, size=(8, 10), threshold=0.5):
        rng = np.random.RandomState(seed)
        matte = rng.rand(*size).astype(np.float32) if alpha is None else np.float32(alpha)
        image = rng.randint(0, 256, (*matte.shape, 3)).astype(np.uint8)
        mask = alpha_to_mask(matte, threshold)
        return Sample(image_id, sample_key(psi, seed), psi, seed, image, matte, mask)

    return make


@pytest.fixture(scope="session")
def discs():
    """Samples of drawn discs, for tests that want no torch (see ``discs.py``)."""
    return noisy_discs


@pytest.fixture(scope="session")
def serving():
    """A local HTTP server that misbehaves as it is told to (see ``serving.py``)."""
    return servers


@pytest.fixture
def tiny_weights(tmp_path, generator_file, make_alpha):
    """Files of a 16 px generator and its alpha network, as the parts of a recipe name them."""
    files = {"generator": generator_file, "alpha": tmp_path / "a.safetensors"}
    opened = open_generator(generator_file)
    alpha = make_alpha(opened.build())
    for value in (alpha.out.weight, alpha.out.bias):
        value.data *= DECIDED
    save_alpha(files["alpha"], alpha, generator_fingerprint=opened.fingerprint)
    return {part: {"weights": str(path)} for part, path in files.items()}


@pytest.fixture
def tiny_flags(tiny_weights):
    """The flags that name ``tiny_weights``."""
    flags = {f"--{part}": named["weights"] for part, named in tiny_weights.items()}
    return [word for flag in flags.items() for word in flag]


@pytest.fixture
def tiny_recipe(tiny_weights):
    """Plain data of a recipe whose weights are tiny files; two of five samples are rejected."""
    return {
        "domain": "tiny",
        **tiny_weights,
        "sampling": {"psi": [0.5, 1.0], "block_size": 4, "blocks_per_shard": 2, "refine": "none"},
        "filters": {"coverage": {"min": 0.3, "max": 1.0}, "border": None},
        "output": {"mask_threshold": 0.5},
    }


@pytest.fixture
def digests():
    """Function: path -> sha256 of every file of a dataset but its lock."""

    def of(folder):
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "lock"
        }

    return of


@pytest.fixture(scope="session")
def reference():
    """The networks once more in float64 NumPy (see ``reference.py``)."""
    return in_numpy


@pytest.fixture
def cli_run():
    from l4f_datagen.cli import cli

    return lambda *arguments: CliRunner().invoke(cli, [str(one) for one in arguments])
