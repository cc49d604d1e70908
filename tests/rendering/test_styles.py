import numpy as np
import pytest
import torch

from l4f_datagen.core.errors import InputRefused, UsageError
from l4f_datagen.recipe import SamplingPart
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.styles import Styles, draw_mix, styles_of

DRAWS = [Draw(1, 0.5, 3), Draw(2, 1.0, 3), Draw(3, 0.7, 0), Draw(4, 1.0, 2)]
NUM_WS = 6


@pytest.fixture
def generator(make_generator):
    return make_generator(16)


@pytest.fixture
def latents(tmp_path):
    """Path of a file with these rows."""

    def save(*shape, seed=0):
        path = tmp_path / "x.npy"
        np.save(path, np.random.RandomState(seed).randn(*shape).astype(np.float32))
        return str(path)

    return save


def ws_of(generator, draws=DRAWS, **part):
    styles = styles_of(SamplingPart(**part), generator)
    with torch.inference_mode():
        return styles.ws(generator, draws).numpy()


def w_of(generator, seed):
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, 8).astype(np.float32))
    return generator.mapping(z)[0].numpy()


def truncated(generator, w, psi):
    w_avg = generator.w_avg.numpy()
    return w_avg + np.float32(psi) * (w - w_avg)


@pytest.mark.parametrize("cutoff", [None, 2])
def test_seeds_alone(generator, cutoff):
    assert styles_of(SamplingPart(), generator) == Styles()
    ws = ws_of(generator, truncation_cutoff=cutoff)
    assert (ws.shape, ws.dtype) == ((4, NUM_WS, 8), np.float32)
    for row, draw in zip(ws, DRAWS, strict=True):
        expected = np.tile(w_of(generator, draw.seed), (NUM_WS, 1))
        expected[:cutoff] = truncated(generator, expected[:cutoff], draw.psi)
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_a_cutoff_at_the_last_layer_is_none_and_beyond_it_an_error(generator):
    np.testing.assert_array_equal(ws_of(generator, truncation_cutoff=NUM_WS), ws_of(generator))
    text = "--truncation-cutoff: 7 is beyond the 6 rows of ws; give 1 to 6"
    with pytest.raises(UsageError, match=text):
        ws_of(generator, truncation_cutoff=7)


class TestLatents:
    @pytest.mark.parametrize("shape", [(4, 8), (4, NUM_WS, 8)], ids=["w", "w+"])
    @pytest.mark.parametrize("cutoff", [None, 3])
    def test_w_and_w_plus(self, generator, latents, shape, cutoff):
        path = latents(*shape)
        rows = np.broadcast_to(np.load(path).reshape(4, -1, 8), (4, NUM_WS, 8))
        ws = ws_of(generator, latents=path, truncation_cutoff=cutoff)
        for row, draw in zip(ws, DRAWS, strict=True):
            expected = rows[draw.seed].copy()
            expected[:cutoff] = truncated(generator, expected[:cutoff], draw.psi)
            np.testing.assert_allclose(row, expected, atol=1e-6)

    def test_z(self, generator, tmp_path):
        path = str(tmp_path / "z.npy")
        np.save(path, np.stack([np.random.RandomState(seed).randn(8) for seed in range(4)]))
        # float64 on disk is the same z as the tool draws itself.
        ws = ws_of(generator, latents=path, latent_space="z")
        np.testing.assert_array_equal(ws, ws_of(generator))

    def test_that_do_not_fit_or_are_not_there(self, generator, latents):
        with pytest.raises(InputRefused, match="this generator takes n x 8 or n x 6 x 8 as w"):
            ws_of(generator, latents=latents(4, 5, 8))
        with pytest.raises(ValueError, match="and none are given"):
            SamplingPart(latent_space="z")


class TestMixing:
    def test_one_row_by_hand(self, generator):
        ws = ws_of(generator, style_mixing=1.0)
        for row, draw in zip(ws, DRAWS, strict=True):
            mix_from, z = draw_mix(draw.seed, 1.0, generator.spec)
            assert 1 <= mix_from < NUM_WS
            first = w_of(generator, draw.seed)
            second = generator.mapping(torch.from_numpy(z)[None])[0].numpy()
            expected = np.array([first] * mix_from + [second] * (NUM_WS - mix_from))
            np.testing.assert_allclose(row, truncated(generator, expected, draw.psi), atol=1e-5)

    def test_the_share_that_mixes(self, generator):
        spec = generator.spec
        layers = [draw_mix(seed, 0.3, spec)[0] for seed in range(2000)]
        mixed = [layer for layer in layers if layer < NUM_WS]
        assert len(mixed) / 2000 == pytest.approx(0.3, abs=0.03)
        counts = np.bincount(mixed, minlength=NUM_WS)[1:]
        assert counts.min() > 0.7 * len(mixed) / (NUM_WS - 1)  # every layer about as often

    def test_a_larger_share_mixes_more_and_the_same_ones_alike(self, generator):
        spec = generator.spec
        for seed in range(200):
            few, many = draw_mix(seed, 0.3, spec), draw_mix(seed, 0.8, spec)
            np.testing.assert_array_equal(few[1], many[1])
            assert few[0] in (many[0], NUM_WS)
            assert not np.allclose(few[1], np.random.RandomState(seed).randn(8))

    def test_a_sample_does_not_depend_on_its_batch(self, generator, latents):
        for part in ({"style_mixing": 0.6}, {"style_mixing": 0.6, "latents": latents(4, 6, 8)}):
            together = ws_of(generator, **part)
            for k, draw in enumerate(DRAWS):
                alone = ws_of(generator, [draw], **part)
                np.testing.assert_allclose(together[k], alone[0], atol=1e-5)
