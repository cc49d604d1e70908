"""The ONNX file, read by ONNX Runtime as users do."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.models.unet import UNet
from l4f_datagen.recipe.catalogue import Licence
from l4f_datagen.segmenter import export
from l4f_datagen.segmenter.export import export_onnx, onnx_bytes
from l4f_datagen.segmenter.model import Segmenter


@pytest.fixture(scope="module")
def network():
    """One export for the whole file: the exporter takes seconds."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = UNet(3, 2)
        net(3 * torch.randn(4, 3, 8, 8) + 1)
        net.out.weight.mul_(100)  # alphas that differ, for a difference to be seen
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    segmenter = Segmenter(net, 12, 0.4, "disc", Licence("x", "y", False), {"plan": {"seed": 0}})
    return segmenter, onnx_bytes(segmenter)


@pytest.mark.parametrize("shape", [(1, 3, 12, 12), (5, 3, 8, 20), (2, 3, 2, 2)])
def test_onnx_runtime_gives_what_torch_gives_for_any_batch_and_size(network, shape):
    segmenter, data = network
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    image = np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32)
    (alpha,) = session.run(None, {"image": image})
    with torch.inference_mode():
        expected = torch.sigmoid(segmenter.network(torch.from_numpy(image))).numpy()
    assert alpha.shape == (shape[0], 1, *shape[2:])
    assert np.abs(alpha - expected).max() < 1e-4
    assert np.ptp(expected) > 0.02


def test_the_file_says_what_it_is_and_nothing_of_the_machine(network):
    data = network[1]
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts["stride"] == "2"
    assert (facts["size"], facts["threshold"], facts["category"]) == ("12", "0.4", "disc")
    assert json.loads(facts["licence"]) == {"name": "x", "link": "y", "commercial": False}
    for word in (b"site-packages", b"segmenter/network.py", b"stack_trace"):
        assert word not in data


def test_a_file_is_written_once_it_is_checked(network, tmp_path, monkeypatch):
    segmenter, data = network
    monkeypatch.setattr(export, "onnx_bytes", lambda _: data)
    path = tmp_path / "s.onnx"
    assert export_onnx(segmenter, path) < 1e-4
    assert path.read_bytes() == data
    with pytest.raises(UsageError, match="exists; name another file or use --overwrite"):
        export_onnx(segmenter, path)
    assert export_onnx(segmenter, path, overwrite=True) < 1e-4
    with pytest.raises(UsageError, match="no such folder; make it first"):
        export_onnx(segmenter, tmp_path / "absent" / "s.onnx")


def test_a_file_that_gives_something_else_is_not_written(
    network, tmp_path, monkeypatch, make_segmenter
):
    monkeypatch.setattr(export, "onnx_bytes", lambda _: network[1])
    with pytest.raises(L4FError, match="ONNX Runtime differs from torch by"):
        export_onnx(make_segmenter(), tmp_path / "s.onnx")
    assert not any(tmp_path.iterdir())


def test_missing_packages_are_named(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs the package onnxruntime; pip install onnx"):
        export_onnx(network[0], tmp_path / "s.onnx")
