import pytest
import torch
import torch.nn.functional as F

from l4f_datagen.models import enlarge as module
from l4f_datagen.models.enlarge import MAX_MATRIX_SIDE, enlarge, interpolation_matrix


def direct(x, side):
    return F.interpolate(x, size=(side, side), mode="bicubic", align_corners=True)


@pytest.mark.parametrize(
    ("size", "side"), [((8, 8), 16), ((16, 16), 64), ((5, 9), 12), ((4, 4), 4)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_torchs_bicubic(size, side, layout):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=layout)
    torch.testing.assert_close(enlarge(x, side), direct(x, side), rtol=0, atol=2e-6)


def test_beyond_the_limit_torch_itself_is_asked(monkeypatch):
    monkeypatch.setattr(module, "MAX_MATRIX_SIDE", 4)
    monkeypatch.setattr(module, "interpolation_matrix", None)
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(enlarge(x, 16), direct(x, 16))
    assert MAX_MATRIX_SIDE == 256


def test_gradients_are_torchs():
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    weight = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    (own,) = torch.autograd.grad((enlarge(x, 16) * weight).sum(), x)
    (expected,) = torch.autograd.grad((direct(x, 16) * weight).sum(), x)
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)


def test_a_matrix_made_under_inference_serves_training():
    interpolation_matrix.cache_clear()
    x = torch.randn(1, 2, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        enlarge(x, 16)
    leaf = x.clone().requires_grad_(True)
    enlarge(leaf, 16).sum().backward()
    torch.testing.assert_close(enlarge(x, 16), direct(x, 16), rtol=0, atol=2e-6)
    assert interpolation_matrix.cache_info().misses == 1
