"""Shapes by arithmetic against the networks themselves."""

from types import ModuleType

import pytest
from torch import nn

from l4f_datagen.checkpoints.shapes import (
    Shapes,
    alpha_shapes,
    discriminator_shapes,
    generator_shapes,
)
from l4f_datagen.models.alpha_network import AlphaNetwork
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.models.generator import Generator


def _shapes(network: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_generator(depth: int, foreign: ModuleType) -> None:
    spec = foreign.make_spec(mapping_layers=depth, channels={4: 6, 8: 5, 16: 3, 32: 9, 64: 2})
    assert generator_shapes(spec) == _shapes(Generator(spec))


def test_discriminator() -> None:
    channels = {4: 6, 8: 5, 16: 3, 32: 9}
    assert discriminator_shapes(32, channels) == _shapes(Discriminator(32, channels))


@pytest.mark.parametrize("sides", [[16], [8, 16], [8, 16, 32, 64]])
def test_alpha(sides: list[int]) -> None:
    channels = {side: side // 4 + 1 for side in sides}
    assert alpha_shapes(channels, sides) == _shapes(AlphaNetwork(channels, sides))
