"""Half precision in the top resolutions, and a layout mirrored on the way."""

import pytest
import torch

from l4f_datagen.models.generator import Half
from l4f_datagen.models.mapping import draw_z


def ws_and_noise(generator, batch=3):
    z = torch.from_numpy(draw_z(range(batch), generator.spec.z_dim))
    return generator.truncate(generator.mapping(z), 0.8), generator.noise("const")


class TestHalf:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("lowest", [4, 16, 32])
    def test_is_for_the_top_resolutions_alone_and_stays_close(self, make_generator, dtype, lowest):
        generator = make_generator(32)
        ws, noise = ws_and_noise(generator)
        exact = generator.synthesis(ws, noise)
        half = generator.synthesis(ws, noise, half=Half(dtype, lowest))
        for side, two in half.features.items():
            assert {each.dtype for each in two} == {dtype if side >= lowest else torch.float32}
            for each, other in zip(two, exact.features[side], strict=True):
                if side < lowest:
                    assert torch.equal(each, other)
                else:
                    limit = 0.05 * other.abs().max()
                    assert (each.float() - other).abs().max() < limit
        assert half.image.dtype == torch.float32
        assert 0 < (half.image - exact.image).abs().mean() < 0.03 * exact.image.abs().mean()

    def test_fp16_survives_what_would_overflow(self, make_generator):
        """Styles of thousands: without taming the products pass 65504 and become NaN."""
        generator = make_generator(16)
        for layer in generator.synthesis.layers():
            layer.affine.bias.mul_(3000)
            layer.weight.mul_(30)
        ws, noise = ws_and_noise(generator)
        exact = generator.synthesis(ws, noise)
        half = generator.synthesis(ws, noise, half=Half(torch.float16, 4))
        for side in (8, 16):
            for each, other in zip(half.features[side], exact.features[side], strict=True):
                assert torch.isfinite(each).all()
                assert (each.float() - other).abs().max() < 0.05 * other.abs().max()


class TestMirrorAt:
    def test_the_layout_up_to_there_is_mirrored(self, make_generator):
        generator = make_generator(16)
        ws, noise = ws_and_noise(generator)
        plain = generator.synthesis(ws, noise)
        mirrored = generator.synthesis(ws, noise, mirror_at=8)
        for side in (4, 8):
            for one, other in zip(plain.features[side], mirrored.features[side], strict=True):
                torch.testing.assert_close(one.flip(3), other)
        assert not torch.allclose(plain.features[16][1].flip(3), mirrored.features[16][1], atol=0.1)

    def test_at_the_end_it_is_the_mirrored_picture(self, make_generator):
        generator = make_generator(16)
        ws, noise = ws_and_noise(generator)
        plain = generator.synthesis(ws, noise)
        mirrored = generator.synthesis(ws, noise, mirror_at=16)
        torch.testing.assert_close(mirrored.image, plain.image.flip(3))

    @pytest.mark.parametrize("noise_mode", ["const", "none"])
    def test_symmetric_layers_finish_the_mirrored_picture(self, make_generator, noise_mode):
        generator = make_generator(32)
        for name, parameter in generator.synthesis.named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(3)) / 2)
        ws, _ = ws_and_noise(generator)
        noise = generator.noise(noise_mode)
        plain = generator.synthesis(ws, noise)
        mirrored = generator.synthesis(ws, noise, mirror_at=8)
        torch.testing.assert_close(mirrored.image, plain.image.flip(3), atol=1e-4, rtol=1e-4)
