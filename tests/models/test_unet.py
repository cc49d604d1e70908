import pytest
import torch

from l4f_datagen.models.unet import UNet


@pytest.mark.parametrize(("depth", "stride"), [(2, 2), (3, 4), (4, 8)])
def test_logits_have_the_size_of_the_image(depth, stride):
    network = UNet(2, depth)
    assert network.stride == stride
    assert network(torch.zeros(2, 3, stride, 3 * stride)).shape == (2, 1, stride, 3 * stride)


def test_a_pixel_far_away_reaches_every_logit():
    network = UNet(4, 4).eval()
    image = torch.randn(1, 3, 16, 16, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    assert image.grad[0, :, 15, 15].abs().sum() > 0
