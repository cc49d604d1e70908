"""Export a segmenter as ONNX, for programs without torch; any batch, any size.

Input ``image``: float32 ``batch 3 h w`` in [-1, 1], RGB, sides multiples of the stride that the
file's metadata names. Output ``alpha``: float32 ``batch 1 h w`` in [0, 1]. Scaling to the trained
size and back is the caller's (see ``model``).
"""

import contextlib
import io
import json
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from l4f_datagen.core.errors import L4FError, UsageError
from l4f_datagen.io.disk import write_atomically
from l4f_datagen.models.unet import UNet
from l4f_datagen.segmenter.model import Segmenter, pad_to

OPSET = 18  # torch's exporter writes it without a conversion
TOLERANCE = 1e-4  # how far alpha may differ from torch's


def export_onnx(segmenter: Segmenter, path: Path, *, overwrite: bool = False) -> float:
    """Write the ONNX file once ONNX Runtime gives what torch gives; return the largest difference.

    Refuses a file that exists; needs the packages of the extra ``onnx``.
    """
    if path.exists() and not overwrite:
        raise UsageError(str(path), "exists", "name another file or use --overwrite")
    if not path.parent.is_dir():
        raise UsageError(str(path.parent), "no such folder", "make it first")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        remedy = "pip install onnx onnxruntime onnxscript"
        raise UsageError("segmenter export", f"needs the package {error.name}", remedy) from error
    data = onnx_bytes(segmenter)
    difference = largest_difference(segmenter, data)
    if not difference <= TOLERANCE:
        problem = f"ONNX Runtime differs from torch by {difference:.1e}, at most {TOLERANCE} fits"
        raise L4FError(str(path), problem, "install the versions in constraints.txt")
    try:
        write_atomically(path, data)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise L4FError(str(path), problem, "check the folder and the free space") from error
    return difference


def onnx_bytes(segmenter: Segmenter) -> bytes:
    """Return the ONNX model with the facts about it in its metadata."""
    stride = segmenter.network.stride
    # Contiguous copy: the channels-last strides of training would be traced along.
    network = UNet(segmenter.network.width, segmenter.network.depth)
    network.load_state_dict(segmenter.network.state_dict())
    matte = nn.Sequential(OrderedDict(network=network.cpu().eval(), alpha=nn.Sigmoid())).eval()
    rows, columns = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)
    shapes = {0: torch.export.Dim("batch"), 2: stride * rows, 3: stride * columns}
    with _quiet():
        program = torch.onnx.export(
            matte,
            (torch.zeros(2, 3, 3 * stride, 4 * stride),),
            input_names=["image"], output_names=["alpha"], dynamic_shapes=(shapes,),
            opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    # The exporter notes for each node where in whose folder it was traced.
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    licence = segmenter.licence.facts if segmenter.licence else None
    facts = {"licence": licence, "training": dict(segmenter.training)}
    said = {name: json.dumps(value, sort_keys=True) for name, value in facts.items()}
    shape = {"size": segmenter.size, "stride": stride, "threshold": segmenter.threshold}
    for name, value in ({"category": segmenter.category} | shape | said).items():
        model.metadata_props.add(key=name, value=str(value))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def largest_difference(segmenter: Segmenter, data: bytes) -> float:
    """Compare ONNX Runtime with torch on noise of another batch and size than was traced."""
    import onnxruntime

    stride = segmenter.network.stride
    stream = np.random.RandomState(0)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch, height, width in ((1, segmenter.size, segmenter.size), (3, 5 * stride, stride)):
        pixels = stream.randint(0, 256, (batch, height, width, 3)).astype(np.uint8)
        padded = np.stack([pad_to(image, stride) for image in pixels])
        image = (padded.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
        (alpha,) = session.run(["alpha"], {"image": image})
        with torch.inference_mode():
            device = segmenter.network.out.weight.device
            expected = torch.sigmoid(segmenter.network(torch.from_numpy(image).to(device))).cpu()
        worst = max(worst, float(np.abs(alpha - expected.numpy()).max()))
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about itself off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
