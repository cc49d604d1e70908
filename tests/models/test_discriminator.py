import numpy as np
import pytest
import torch
from scipy import signal

from l4f_datagen.models.discriminator import Discriminator, minibatch_stddev

WIDTHS = {4: 5, 8: 4, 16: 3, 32: 2}
KERNEL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def make_discriminator(resolution):
    torch.manual_seed(0)
    net = Discriminator(resolution, {k: v for k, v in WIDTHS.items() if k <= resolution})
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return net.requires_grad_(False)


def images(batch, side, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (batch, 3, side, side)).astype(np.float32)


def correlate(plane, taps, pad):
    return signal.correlate2d(np.pad(plane, pad), taps, "valid")


class Naive:
    """The discriminator once more, in double precision and one plane at a time."""

    def __init__(self, net, activate):
        self.activate = activate
        self.tensors = {k: v.double().numpy() for k, v in net.state_dict().items()}
        self.num_blocks = len(net.blocks)

    def conv(self, name, x, *, pad, stride=1, blur=None):
        weight = self.tensors[f"{name}.weight"]
        weight = weight / np.sqrt(weight[0].size)
        if blur is not None:
            x = [[correlate(plane, KERNEL, blur) for plane in sample] for sample in x]
        pads = [pad] * weight.shape[1]
        whole = [[sum(map(correlate, sample, kernel, pads)) for kernel in weight] for sample in x]
        out = np.asarray(whole)[:, :, ::stride, ::stride]
        if f"{name}.bias" not in self.tensors:
            return out
        return self.activate(out + self.tensors[f"{name}.bias"][:, None, None])

    def linear(self, name, x):
        weight = self.tensors[f"{name}.weight"]
        return x @ weight.T / np.sqrt(weight.shape[1]) + self.tensors[f"{name}.bias"]

    def logits(self, image):
        x = self.conv("from_rgb", image.astype(np.float64), pad=0)
        for k in range(self.num_blocks):
            skip = self.conv(f"blocks.{k}.skip", x, pad=0, stride=2, blur=1)
            x = self.conv(f"blocks.{k}.conv0", x, pad=1)
            x = (self.conv(f"blocks.{k}.conv1", x, pad=0, stride=2, blur=2) + skip) / np.sqrt(2)
        x = self.conv("conv", with_stddev(x), pad=1)
        x = self.activate(self.linear("fc", x.reshape(len(x), -1)))
        return self.linear("out", x)[:, 0]


def with_stddev(x):
    """By hand: group of sample k is every (batch / size)-th sample, size the largest up to 4."""
    batch = len(x)
    size = max(k for k in (1, 2, 3, 4) if batch % k == 0)
    step = batch // size
    out = []
    for k in range(batch):
        group = x[k % step :: step]
        assert len(group) == size
        stddev = np.sqrt(((group - group.mean(axis=0)) ** 2).mean(axis=0) + 1e-8).mean()
        out.append(np.concatenate([x[k], np.full((1, *x.shape[2:]), stddev)]))
    return np.stack(out)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6, 8, 12])
def test_minibatch_stddev_by_hand(batch):
    x = np.random.RandomState(0).randn(batch, 3, 4, 4)
    out = minibatch_stddev(torch.from_numpy(x).float()).numpy()
    np.testing.assert_allclose(out, with_stddev(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("resolution", "batch"), [(16, 4), (16, 3), (32, 2)])
def test_logits_agree_with_the_formulas(reference, resolution, batch):
    net = make_discriminator(resolution)
    image = images(batch, resolution)
    logits = net(torch.from_numpy(image))
    assert (logits.shape, logits.dtype) == ((batch,), torch.float32)
    expected = Naive(net, reference.activate).logits(image)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


def test_a_group_matters_through_its_spread_alone():
    net = make_discriminator(16)
    image = torch.from_numpy(images(4, 16))
    assert torch.allclose(net(image[[2, 0, 3, 1]]), net(image)[[2, 0, 3, 1]], atol=1e-5)
    assert not torch.allclose(net(image)[:1], net(image[:1]), atol=1e-4)
    one_by_one = torch.cat([net(each[None]) for each in image])
    assert torch.allclose(net(image, group=1), one_by_one, atol=1e-5)


def test_half_precision_images_give_single_precision_logits():
    net = make_discriminator(16)
    image = torch.from_numpy(images(2, 16))
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(image)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, net(image), atol=0.05)
