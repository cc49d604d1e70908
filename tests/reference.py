"""StyleGAN2 and the alpha network once more, from the papers: NumPy, float64, one sample a time.

Nothing of the package is used here, so that an error of the package is not repeated.
"""

import numpy as np
from scipy import signal

KERNEL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16


def activate(x):
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def conv(plane, taps):
    return signal.correlate2d(plane, taps, "same")


def conv_up(plane, taps):
    """Zeros between the pixels, a true convolution, then the low-pass filter."""
    spread = np.zeros((2 * plane.shape[0] - 1, 2 * plane.shape[1] - 1))
    spread[::2, ::2] = plane
    return signal.convolve2d(np.pad(signal.convolve2d(spread, taps), 1), KERNEL, "valid")


def double(plane):
    spread = np.zeros((2 * plane.shape[0] + 3, 2 * plane.shape[1] + 3))
    spread[2:-1:2, 2:-1:2] = plane
    return signal.convolve2d(spread, KERNEL, "valid")


class Generator:
    """A generator from its state: our key -> array."""

    def __init__(self, state, conv_clamp=None):
        self.tensors = {key: np.asarray(value, np.float64) for key, value in state.items()}
        names = [key for key in state if key.endswith("torgb.bias")]
        self.resolutions = sorted(int(key.split(".")[1][1:]) for key in names)
        self.limit = conv_clamp or np.inf

    def w(self, z):
        """Map z to w, one or one a row."""
        x = np.asarray(z, np.float64)
        x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-8)
        for layer in range(sum(key.endswith("weight") for key in self.tensors if "map" in key)):
            weight = self.tensors[f"mapping.fc.{layer}.weight"] * 0.01 / np.sqrt(x.shape[-1])
            x = activate(x @ weight.T + 0.01 * self.tensors[f"mapping.fc.{layer}.bias"])
        return x

    def truncate(self, w, psi):
        w_avg = self.tensors["w_avg"]
        return w_avg + psi * (w - w_avg)

    def synthesis(self, ws, noise, mute=None):
        """Return image and features for one w a row, and one noise map a layer."""
        image, features = 0, {}
        row = layer = 0
        for side in self.resolutions:
            if side == 4:
                x = self.tensors["synthesis.b4.const"] * (mute != "const")
                x = self.layer("synthesis.b4.conv1", x, ws[0], noise[0]) * (mute != "conv1")
                features[4] = [x]
                row, layer = 1, 1
            else:
                first = self.layer(f"synthesis.b{side}.conv0", x, ws[row], noise[layer], up=True)
                x = self.layer(f"synthesis.b{side}.conv1", first, ws[row + 1], noise[layer + 1])
                features[side] = [first, x]
                row, layer = row + 2, layer + 2
                image = np.stack([double(plane) for plane in image])
            image = image + self.rgb(f"synthesis.b{side}.torgb", x, ws[row])
        return image, features

    def const_noise(self):
        layers = [(side, conv) for side in self.resolutions for conv in ("conv0", "conv1")]
        return [self.tensors[f"synthesis.b{s}.{c}.noise_const"] for s, c in layers[1:]]

    def layer(self, name, x, w, noise, up=False):
        kernels = self.tensors[f"{name}.weight"] * self.styles(name, w)[:, None, None]
        kernels = kernels / np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        x = np.stack([sum(map(conv_up if up else conv, x, kernel)) for kernel in kernels])
        x = x + self.tensors[f"{name}.noise_strength"] * noise
        x = activate(x + self.tensors[f"{name}.bias"][:, None, None])
        return x.clip(-self.limit, self.limit)

    def rgb(self, name, x, w):
        styles = self.styles(name, w) / np.sqrt(len(x))
        weight = self.tensors[f"{name}.weight"][:, :, 0, 0] * styles
        rgb = np.einsum("oc,chw->ohw", weight, x) + self.tensors[f"{name}.bias"][:, None, None]
        return rgb.clip(-self.limit, self.limit)

    def styles(self, name, w):
        weight = self.tensors[f"{name}.affine.weight"]
        return weight @ w / np.sqrt(len(w)) + self.tensors[f"{name}.affine.bias"]


def cubic(distance, a=-0.75):
    t = abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def bicubic_matrix(side_in, side_out):
    """Row k: how much each input pixel gives to output pixel k, corners on corners."""
    matrix = np.zeros((side_out, side_in))
    for k in range(side_out):
        place = k * (side_in - 1) / (side_out - 1)
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            matrix[k, min(max(tap, 0), side_in - 1)] += cubic(place - tap)
    return matrix


def enlarge(x, side):
    matrix = bicubic_matrix(x.shape[-1], side)
    return np.einsum("kh,chw,lw->ckl", matrix, x, matrix)


def alpha(state, features):
    """Return alpha, ``1 h w``, for resolution -> two features ``c h w``."""

    def conv1x1(name, x):
        weight = np.asarray(state[f"{name}.weight"], np.float64)[:, :, 0, 0]
        bias = np.asarray(state[f"{name}.bias"], np.float64)
        return np.einsum("oc,chw->ohw", weight, x) + bias[:, None, None]

    own = {
        side: np.concatenate([conv1x1(f"first.{side}", a), conv1x1(f"second.{side}", b)])
        for side, (a, b) in features.items()
    }
    lowest, *middle, top = sorted(own) if len(own) > 1 else (min(own), min(own))
    carried = own[lowest]
    for side in middle:
        merged = conv1x1(f"merge.{side}", np.concatenate([own[side], enlarge(carried, side)]))
        carried = np.where(merged > 0, merged, 0.2 * merged)
    if top != lowest:
        carried = own[top] + enlarge(carried, top)
    return 1 / (1 + np.exp(-conv1x1("out", carried)))
