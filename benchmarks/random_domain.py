"""A domain with random weights: as large and as slow as a downloaded one, without a download.

The generator is StyleGAN2 config-f. The alpha network is set such that its mattes are decided and
half of the image is object, in blobs: what precision does to a mask is then seen at outlines.
"""

from pathlib import Path

import torch

from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions
from l4f_datagen.models.generator import Generator, GeneratorSpec, draw_z
from l4f_datagen.recipe import Recipe, check_recipe

MAX_CHANNELS, CHANNELS_AT_ONE_PX = 512, 32768
NOISE_STRENGTH = 0.05
LOOKED_AT = 4
"""Images that the alpha network is scaled on."""
DECIDED = 4.0
"""Standard deviation of the logits after scaling."""
IMAGE_STD = 0.5


def random_domain(size: int, folder: Path) -> Recipe:
    """Draw weights for images of ``size`` px, save them in the folder, return their recipe."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        generator, alpha = _draw(size)
    weights = folder / "generator.safetensors"
    save_generator(weights, generator.spec, generator.state_dict())
    fingerprint = open_generator(weights).fingerprint
    save_alpha(folder / "alpha.safetensors", alpha, generator_fingerprint=fingerprint)
    data = {
        "domain": f"random-{size}",
        "generator": {"weights": str(weights)},
        "alpha": {"weights": str(folder / "alpha.safetensors")},
        "sampling": {"psi": [0.7], "block_size": 4, "blocks_per_shard": 16},
        "filters": {"preset": "none"},
        "output": {"mask_threshold": 0.5},
    }
    return check_recipe(data, "random domain")


def _draw(size: int) -> tuple[Generator, AlphaNetwork]:
    sides = [2**k for k in range(2, size.bit_length()) if 2**k <= size]
    channels = {side: min(MAX_CHANNELS, CHANNELS_AT_ONE_PX // side) for side in sides}
    generator = Generator(GeneratorSpec(size, channels)).requires_grad_(False)
    for layer in generator.synthesis.layers():
        layer.noise_strength.fill_(NOISE_STRENGTH)
    alpha = AlphaNetwork(channels, alpha_resolutions(size)).requires_grad_(False)
    for reads in (alpha.first, alpha.second):
        for name, convolution in reads.items():
            convolution.weight.mul_(alpha.resolutions[0] / int(name))
    z = torch.from_numpy(draw_z(range(LOOKED_AT), generator.spec.z_dim))
    synthesis = generator(z, 0.7)
    for side in sides:
        torgb = generator.synthesis.get_submodule(f"b{side}.torgb")
        torgb.weight.mul_(IMAGE_STD / float(synthesis.image.std()))
    logits = alpha.logits(synthesis.features)
    scale = DECIDED / float(logits.std())
    alpha.out.weight.mul_(scale)
    alpha.out.bias.copy_((alpha.out.bias - logits.median()) * scale)
    return generator, alpha
