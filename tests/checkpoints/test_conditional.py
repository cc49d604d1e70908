"""Class-conditional networks with the class fixed, against the formula on the whole network."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from l4f_datagen.checkpoints.containers import read_container
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.checkpoints.pickle_machine.source import ByteSource
from l4f_datagen.core.errors import CheckpointRefused

Z_DIM, EMBED, CLASSES = 5, 4, 3


def _normalised(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8))


def _leaky(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.where(x < 0, 0.2 * x, x) * np.sqrt(2))


def _mapped(
    z: NDArray[Any],
    index: int,
    embed: tuple[NDArray[Any], NDArray[Any]],
    layers: list[tuple[NDArray[Any], NDArray[Any]]],
) -> NDArray[Any]:
    """The conditional mapping network in float64, class as a one-hot row."""
    classes = np.zeros((len(z), embed[0].shape[1]))
    classes[:, index] = 1
    embedded = classes @ embed[0].T / np.sqrt(embed[0].shape[1]) + embed[1]
    x = np.concatenate([_normalised(z), _normalised(embedded)], axis=1)
    for weight, bias in layers:
        x = _leaky(x @ weight.T * 0.01 / np.sqrt(weight.shape[1]) + bias * 0.01)
    return x


def _conditional(path: Path, foreign: ModuleType) -> tuple[Path, Any, tuple[torch.Tensor, ...]]:
    generator = foreign.make_generator()
    torch.manual_seed(3)
    classes = (
        torch.randn(EMBED, CLASSES),
        torch.randn(EMBED),
        torch.randn(generator.spec.w_dim, Z_DIM + EMBED) * 100,
    )
    g_ema = foreign.ada_generator(generator, classes=classes)
    return foreign.write_pickle(path, foreign.ada_snapshot(g_ema)), generator, classes


@pytest.mark.parametrize("index", range(CLASSES))
def test_w_of_a_class(index: int, tmp_path: Path, foreign: ModuleType) -> None:
    path, generator, (embed, embed_bias, first) = _conditional(tmp_path / "c", foreign)
    state = {key: value.double().numpy() for key, value in generator.state_dict().items()}
    layers = [(first.double().numpy(), state["mapping.fc.0.bias"])]
    layers += [
        (state[f"mapping.fc.{k}.weight"], state[f"mapping.fc.{k}.bias"])
        for k in range(1, generator.spec.mapping_layers)
    ]
    z = np.random.RandomState(0).randn(6, Z_DIM)
    embedding = (embed.double().numpy(), embed_bias.double().numpy())
    expected = _mapped(z, index, embedding, layers)
    checkpoint = open_generator(path, class_index=index)
    assert checkpoint.class_index == index
    built = checkpoint.build()
    w = built.mapping(torch.from_numpy(z)).numpy()
    assert np.abs(w - expected).max() < 1e-5
    assert torch.equal(built.w_avg, generator.w_avg)


def test_classes_differ(tmp_path: Path, foreign: ModuleType) -> None:
    path, _, _ = _conditional(tmp_path / "c", foreign)
    first, second = (open_generator(path, class_index=k) for k in (0, 1))
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, r"3 classes \(c_dim = 3\); choose one with --class 0 to --class 2"),
        (3, "class 3 is none of them"),
        (-1, "class -1 is none of them"),
    ],
)
def test_the_class_must_be_one_of_them(
    index: int | None, said: str, tmp_path: Path, foreign: ModuleType
) -> None:
    path, _, _ = _conditional(tmp_path / "c", foreign)
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(path, class_index=index)


@pytest.mark.parametrize(
    ("part", "tensor", "said"),
    [
        ("embed", torch.zeros(EMBED, CLASSES, 1), "unknown shape"),
        ("embed", torch.zeros(40, CLASSES), "does not fit"),
        ("embed", torch.zeros(EMBED - 1, CLASSES), "does not fit"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(
    part: str, tensor: torch.Tensor, said: str, tmp_path: Path, foreign: ModuleType
) -> None:
    generator = foreign.make_generator()
    classes = (tensor, torch.zeros(EMBED), torch.zeros(generator.spec.w_dim, Z_DIM + EMBED))
    snapshot = foreign.ada_snapshot(foreign.ada_generator(generator, classes=classes))
    with pytest.raises(CheckpointRefused, match=said):
        open_generator(foreign.write_pickle(tmp_path / "c", snapshot), class_index=0)


def test_the_reference_file(reference_dir: Path) -> None:
    path = reference_dir / "conditional_c10.pkl"
    with ByteSource(path) as source:
        root: Any = read_container(source).loaded
        modules = root["G_ema"].state["_modules"]["mapping"].state["_modules"]

        def read(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
            parts = modules[name].state["_parameters"]
            weight, bias = (parts[key].read().double().numpy() for key in ("weight", "bias"))
            return weight, bias

        embed = read("embed")
        layers = [read(f"fc{k}") for k in range(len(modules) - 1)]
    z_dim = layers[0][0].shape[1] - embed[0].shape[0]
    z = np.random.RandomState(0).randn(4, z_dim)
    for index in (0, 9):
        built = open_generator(path, class_index=index).build()
        w = built.mapping(torch.from_numpy(z)).numpy()
        assert np.abs(w - _mapped(z, index, embed, layers)).max() < 1e-5
        assert built(torch.from_numpy(z)).image.shape == (4, 3, 16, 16)
