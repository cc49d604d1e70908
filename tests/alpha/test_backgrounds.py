import numpy as np
import pytest
import torch

from l4f_datagen.alpha.backgrounds import BACKGROUNDS
from l4f_datagen.recipe import AlphaPart


def test_every_rule_of_a_recipe_is_there():
    names = AlphaPart.model_fields["background"].annotation.__args__
    assert set(BACKGROUNDS) == set(names) == {"conv1", "const"}


@pytest.mark.parametrize("name", ["conv1", "const"])
def test_is_the_generator_with_its_trunk_muted(make_generator, name):
    generator = make_generator()
    ws = torch.from_numpy(np.random.RandomState(0).randn(2, 6, 8).astype(np.float32))
    noise = generator.noise("random", [np.random.RandomState(k) for k in range(2)])
    image = BACKGROUNDS[name](generator, ws, noise)
    assert image.shape == (2, 3, 16, 16)
    assert torch.equal(image, generator.synthesis(ws, noise, name).image)
    assert not torch.allclose(image, generator.synthesis(ws, noise).image, atol=1e-3)
    other = {"conv1": "const", "const": "conv1"}[name]
    assert not torch.allclose(image, BACKGROUNDS[other](generator, ws, noise), atol=1e-3)


def test_no_gradient_flows(make_generator):
    generator = make_generator().requires_grad_(True)
    ws = torch.zeros(1, 6, 8, requires_grad=True)
    assert not BACKGROUNDS["conv1"](generator, ws, generator.noise("const")).requires_grad
