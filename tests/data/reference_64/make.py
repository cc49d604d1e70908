"""Draw a 64 px generator and alpha network, and freeze what float64 NumPy makes of them.

    python tests/data/reference_64/make.py

Writes generator.safetensors, alpha.safetensors and expected.npz beside this file. The weights are
drawn from a fixed seed; the expected values are those of ``tests/reference.py``, which uses
nothing of the package.
"""

import runpy
from pathlib import Path

import numpy as np
import torch

from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.models.alpha_network import AlphaNetwork, alpha_resolutions
from l4f_datagen.models.generator import Generator, GeneratorSpec

HERE = Path(__file__).parent
REFERENCE = runpy.run_path(str(HERE.parents[1] / "reference.py"))
SPEC = GeneratorSpec(
    64, {4: 16, 8: 14, 16: 12, 32: 8, 64: 6}, z_dim=12, w_dim=16, mapping_layers=8, conv_clamp=4.0
)
SEEDS = (0, 123)
PSI = 0.7


def drawn(network, scales):
    """Give every tensor of a network values from one stream; scales by the end of the name."""
    stream = np.random.RandomState(64)
    for name, tensor in network.state_dict().items():
        scale, shift = next((s for end, s in scales.items() if name.endswith(end)), (1.0, 0.0))
        values = stream.standard_normal(tuple(tensor.shape)) * scale + shift
        tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return network


def main():
    torch.set_grad_enabled(False)
    scales = {
        ".affine.bias": (0.3, 1.0),
        "noise_strength": (0.2, 0.3),
        "w_avg": (0.5, 0.2),
        **{f"mapping.fc.{k}.weight": (100.0, 0.0) for k in range(SPEC.mapping_layers)},
        **{f"mapping.fc.{k}.bias": (20.0, 0.0) for k in range(SPEC.mapping_layers)},
        "bias": (0.3, 0.0),
    }
    generator = drawn(Generator(SPEC), scales)
    alpha = drawn(AlphaNetwork(SPEC.channels, alpha_resolutions(64)), {"weight": (0.3, 0.0)})
    origin = "drawn weights, not trained"
    save_generator(HERE / "generator.safetensors", SPEC, generator.state_dict(), origin=origin)
    save_alpha(HERE / "alpha.safetensors", alpha, generator_fingerprint=None, origin=origin)
    state = {name: tensor.numpy() for name, tensor in generator.state_dict().items()}
    naive = REFERENCE["Generator"](state, SPEC.conv_clamp)
    weights = {name: tensor.numpy() for name, tensor in alpha.state_dict().items()}
    out = {"seeds": np.array(SEEDS), "psi": np.array(PSI)}
    for seed in SEEDS:
        w = naive.w(np.random.RandomState(seed).randn(SPEC.z_dim).astype(np.float32))
        ws = [naive.truncate(w, PSI)] * SPEC.num_ws
        image, features = naive.synthesis(ws, naive.const_noise())
        read = {side: features[side] for side in alpha.resolutions}
        out[f"w_{seed}"] = w
        out[f"image_{seed}"] = image.astype(np.float32)
        out[f"alpha_{seed}"] = REFERENCE["alpha"](weights, read).astype(np.float32)
        for side, maps in features.items():
            # One channel of each layer, and the top resolution thinned: a sum would hide a shift.
            out[f"features_{seed}_{side}"] = np.stack([m[0, :: side // 4] for m in maps])
    np.savez_compressed(HERE / "expected.npz", **out)


if __name__ == "__main__":
    main()
