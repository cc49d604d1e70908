import numpy as np
import pytest
import torch

from l4f_datagen.core.masks import count_components, fill_holes, largest_component
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.recipe import SplitPart, check_recipe
from l4f_datagen.rendering.plan import Draw, split_of
from l4f_datagen.rendering.render import Renderer, noise_stream, renderer_of
from l4f_datagen.rendering.styles import Styles

DRAWS = [Draw(1, 0.5, 11), Draw(2, 1.0, 11), Draw(3, 0.7, 12), Draw(7, 0.0, 2**32 - 1)]


def levels_apart(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max()


def halving_threshold(generator, network, draws):
    """The threshold at which half of all pixels are mask."""
    return float(np.median([s.alpha for s in Renderer(generator, network).render(draws)]))


def z_of(seed):
    return torch.from_numpy(np.random.RandomState(seed).randn(1, 8).astype(np.float32))


def pixels(image):
    return image_to_uint8(image)[0].permute(1, 2, 0).numpy()


@pytest.fixture
def networks(make_generator, make_alpha):
    generator = make_generator()
    return generator, make_alpha(generator)


class TestRenderer:
    def test_one_sample_by_hand(self, networks):
        generator, network = networks
        samples = Renderer(*networks, mask_threshold=0.45).render(DRAWS)
        for draw, sample in zip(DRAWS, samples, strict=True):
            assert Draw(sample.image_id, sample.psi, sample.seed) == draw
            assert (sample.key, sample.reason) == (draw.key, None)
            synthesis = generator(z_of(draw.seed), draw.psi)
            alpha = network(synthesis.features)[0, 0].numpy()
            kinds = [(part.dtype, part.shape) for part in (sample.image, sample.alpha, sample.mask)]
            side = (16, 16)
            assert kinds == [(np.uint8, (*side, 3)), (np.float32, side), (np.bool_, side)]
            assert levels_apart(sample.image, pixels(synthesis.image)) <= 1
            np.testing.assert_allclose(sample.alpha, alpha, atol=1e-5)
            assert np.array_equal(sample.mask, sample.alpha > 0.45)
            assert 0 < sample.mask.mean() < 1

    @pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
    def test_a_sample_does_not_depend_on_its_batch(self, networks, noise_mode):
        renderer = Renderer(*networks, noise_mode=noise_mode)
        together = renderer.render(DRAWS)
        for first, again in zip(together, renderer.render(DRAWS), strict=True):
            assert np.array_equal(first.image, again.image)
            assert np.array_equal(first.alpha, again.alpha)
        swapped = renderer.render([DRAWS[2], DRAWS[0]])
        alone = [renderer.render([draw])[0] for draw in DRAWS]
        pairs = [*zip(together, alone, strict=True), (swapped[0], alone[2]), (swapped[1], alone[0])]
        for first, second in pairs:
            assert first.key == second.key
            assert levels_apart(first.image, second.image) <= 1
            np.testing.assert_allclose(first.alpha, second.alpha, atol=1e-5)

    def test_noise_modes_and_images_alone(self, make_generator):
        generator, images = make_generator(), {}
        for mode in ("const", "random", "none"):
            [sample] = Renderer(generator, None, noise_mode=mode).render(DRAWS[:1])
            assert (sample.alpha.max(), sample.mask.any()) == (0, False)
            images[mode] = sample.image
        assert levels_apart(images["const"], images["none"]) > 3
        assert levels_apart(images["random"], images["none"]) > 3
        noise = generator.noise("random", [noise_stream(11)])
        expected = pixels(generator(z_of(11), 0.5, noise=noise).image)
        assert levels_apart(images["random"], expected) <= 1

    def test_noise_has_a_stream_of_its_own(self):
        for other in (np.random.RandomState(5), noise_stream(6)):
            assert not np.allclose(noise_stream(5).randn(8), other.randn(8))
        assert np.array_equal(noise_stream(5).randn(8), noise_stream(5).randn(8))

    def test_crop_cuts_image_and_labels_alike(self, networks):
        whole = Renderer(*networks).render(DRAWS)
        cropped = Renderer(*networks, crop=(1, 4, 15, 12)).render(DRAWS)
        for full, part in zip(whole, cropped, strict=True):
            assert part.image.shape == (8, 14, 3)
            for name in ("image", "alpha", "mask"):
                assert np.array_equal(getattr(part, name), getattr(full, name)[4:12, 1:15])

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_half_precision_stays_close(self, networks, precision):
        exact = Renderer(*networks).render(DRAWS)
        half = Renderer(*networks, precision=precision).render(DRAWS)
        for first, second in zip(exact, half, strict=True):
            assert second.alpha.dtype == np.float32
            assert np.abs(first.image.astype(int) - second.image).mean() < 4
            assert np.abs(first.alpha - second.alpha).mean() < 0.02
        assert any(not np.array_equal(a.alpha, b.alpha) for a, b in zip(exact, half, strict=True))

    def test_fp16_is_for_the_top_four_resolutions_and_masks_stay_all_but(
        self, make_generator, make_alpha
    ):
        generator, seen = make_generator(32), {}
        network = make_alpha(generator)
        draws = [Draw(k + 1, 1.0, k) for k in range(16)]
        threshold = halving_threshold(generator, network, draws)
        exact = Renderer(generator, network, mask_threshold=threshold).render(draws)

        def watch(_, given, result):
            seen.update({side: {each.dtype for each in two} for side, two in given[0].items()})
            assert result.dtype == torch.float32

        with network.register_forward_hook(watch):
            renderer = Renderer(generator, network, "const", threshold, "fp16")
            half = renderer.render(draws)
        assert seen == {side: {torch.float16} for side in (4, 8, 16, 32)}
        assert renderer._half.lowest == 4
        pairs = [(a.mask, b.mask) for a, b in zip(exact, half, strict=True)]
        assert np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]) > 0.99
        assert 0.4 < np.mean([sample.mask for sample in exact]) < 0.6

    @pytest.mark.parametrize("mute", ["conv1", "const"])
    def test_background_is_the_muted_picture_of_the_same_sample(self, networks, mute):
        generator, _ = networks
        crop = (1, 4, 15, 12)
        renderer = Renderer(*networks, noise_mode="random", crop=crop, background=mute)
        for draw, sample in zip(DRAWS, renderer.render(DRAWS), strict=True):
            noise = generator.noise("random", [noise_stream(draw.seed)])
            muted = generator(z_of(draw.seed), draw.psi, noise=noise, mute=mute).image
            expected = pixels(muted)[4:12, 1:15]
            assert sample.background.dtype == np.uint8
            assert levels_apart(sample.background, expected) <= 1
            assert levels_apart(sample.background, sample.image) > 3

    def test_one_synthesis_pass_unless_more_is_asked(self, networks):
        passes = []
        with networks[0].synthesis.register_forward_hook(lambda *_: passes.append(1)):
            (sample,) = Renderer(*networks).render(DRAWS[:1])
            assert (len(passes), sample.background, sample.scores) == (1, None, {})
            Renderer(*networks, background="conv1").render(DRAWS[:1])
        assert len(passes) == 3

    def test_split_of_every_sample(self, make_generator):
        split = SplitPart(val=0.5)
        draws = [Draw(k + 1, 0.7, k) for k in range(20)]
        samples = Renderer(make_generator(), None, split=split).render(draws)
        assert [sample.split for sample in samples] == [split_of(d.key, split) for d in draws]
        assert {sample.split for sample in samples} == {"train", "val"}

    def test_mask_cleanup_touches_the_mask_alone_and_says_what_was(
        self, make_generator, make_alpha
    ):
        generator = make_generator(32)
        network = make_alpha(generator)
        draws = [Draw(k + 1, 1.0, k) for k in range(6)]
        threshold = halving_threshold(generator, network, draws)
        raw = Renderer(generator, network, mask_threshold=threshold).render(draws)
        steps = ("largest_component", "fill_holes")
        cleaning = Renderer(generator, network, mask_threshold=threshold, mask_cleanup=steps)
        clean = cleaning.render(draws)
        for before, after in zip(raw, clean, strict=True):
            assert np.array_equal(before.alpha, after.alpha)
            assert np.array_equal(after.mask, fill_holes(largest_component(before.mask)))
            (number,), (share,) = count_components(before.mask[None])
            assert after.scores == {"num_components": number, "largest_share": round(share, 6)}
            assert count_components(after.mask[None])[0] == [1]
        assert any(not np.array_equal(a.mask, b.mask) for a, b in zip(raw, clean, strict=True))


def test_the_recipe_decides_all_that_a_renderer_does(networks):
    data = {
        "domain": "x",
        "generator": {"crop": [0, 2, 16, 14]},
        "alpha": {"background": "const"},
        "sampling": {
            "noise_mode": "random",
            "precision": "bf16",
            "truncation_cutoff": 3,
            "style_mixing": 0.25,
            "mask_cleanup": ["fill_holes", "largest_component"],
        },
        "output": {"mask_threshold": 0.3, "composites": "generated", "split": {"val": 0.25}},
    }
    recipe = check_recipe(data, "f")
    assert renderer_of(recipe, *networks) == Renderer(
        *(*networks, "random", 0.3, "bf16", (0, 2, 16, 14)),
        styles=Styles(style_mixing=0.25, truncation_cutoff=3),
        background="const",
        mask_cleanup=("largest_component", "fill_holes"),
        split=SplitPart(train=0.75, val=0.25),
        refine="guided",
    )
    assert renderer_of(recipe, networks[0], None).background is None
    del data["output"]["composites"]
    assert renderer_of(check_recipe(data, "f"), *networks).background is None
    plain = Renderer(
        networks[0], None, mask_threshold=0.5, refine="guided", split=SplitPart(train=0.9, val=0.1)
    )
    assert renderer_of(check_recipe({"domain": "x"}, "f"), networks[0], None) == plain
