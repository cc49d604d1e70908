from types import SimpleNamespace

import numpy as np
import pytest
import torch

from l4f_datagen.annotate.examples import Rerendered
from l4f_datagen.annotate.keys import KeyFile, KeyRow, check_rendered_alike, image_facts
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.recipe import check_recipe
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer

ROWS = [KeyRow("a.png", 0.5, 3), KeyRow("b.png", 1.0, 7)]


@pytest.fixture
def rendered(make_generator, make_alpha):
    generator = make_generator(32)
    renderer = Renderer(
        generator, make_alpha(generator), mask_threshold=0.5, crop=(0, 4, 32, 28), noise_mode="none"
    )
    return Rerendered(renderer, KeyFile(ROWS), "net")


def test_masks_alphas_and_images_are_those_of_the_renderer(rendered):
    assert rendered.names == ["a.png", "b.png"]
    together = rendered.renderer.render([Draw(1, 0.5, 3), Draw(2, 1.0, 7)])
    for place in (1, 0, 1):
        predicted, picture = rendered.load(place), rendered.image(place)
        assert predicted.mask.shape == (24, 32)
        assert predicted.alpha == pytest.approx(together[place].alpha, abs=1e-5)
        np.testing.assert_array_equal(predicted.mask, predicted.alpha > 0.5)
        assert np.abs(picture.astype(int) - together[place].image).max() <= 1


def test_features_give_the_same_alpha_and_let_gradients_pass(rendered):
    alpha = rendered.renderer.alpha
    features = rendered.features(1)
    again = alpha(features)[0, 0, 4:28].detach().numpy()
    assert again == pytest.approx(rendered.load(1).alpha, abs=1e-6)
    alpha.requires_grad_(True)
    alpha(features).sum().backward()
    assert torch.isfinite(alpha.out.weight.grad).all()
    assert not alpha._forward_pre_hooks


def test_without_an_alpha_network_there_are_no_features(make_generator):
    bare = Rerendered(Renderer(make_generator(16), None), KeyFile(ROWS), "x")
    with pytest.raises(ValueError, match="there is no alpha network"):
        bare.features(0)


def test_unchecked_keys_are_said(rendered):
    assert "give --keys" in rendered.notes()[0]
    rendered.keys = KeyFile(ROWS, {"drawn_with": {}})
    assert rendered.notes() == []


def drawn(fingerprint="f" * 64, **sampling):
    recipe = check_recipe({"domain": "x", "sampling": sampling}, "test")
    return recipe, SimpleNamespace(fingerprint=fingerprint, sha256="s" * 64, path="g.pt")


def test_the_same_settings_are_drawn_alike_whatever_psi_and_batch():
    other = drawn(psi=[0.3], seeds="5-9", block_size=2, precision="bf16")
    check_rendered_alike(KeyFile(ROWS, image_facts(*drawn()), "keys.csv"), *other)
    check_rendered_alike(KeyFile(ROWS), *other)


@pytest.mark.parametrize(
    ("now", "match"),
    [
        ({"noise_mode": "random"}, r"sampling.noise_mode 'const', now it is 'random'; give --set "
         r"sampling\.noise_mode=const"),
        ({"truncation_cutoff": 4}, r"cutoff None, now it is 4; .*truncation_cutoff=null"),
        ({"fingerprint": "0" * 64}, r"another generator\.fingerprint than this recipe"),
    ],
)  # fmt: skip
def test_images_drawn_otherwise_are_refused(now, match):
    keys = KeyFile(ROWS, image_facts(*drawn()), "keys.csv")
    with pytest.raises(AnnotationRefused, match=match):
        check_rendered_alike(keys, *drawn(**now))
