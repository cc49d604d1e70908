"""Doctor: what this machine offers to a run, and whether the main job works on it."""

import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from l4f_datagen.core.sample import Sample
from l4f_datagen.io.download import default_cache, is_offline

EXTRAS = {
    "ray": "make --engine ray",
    "onnxruntime": "segmenter export, checked",
    "lmdb": "training from an LMDB",
    "tensorboard": "training curves in TensorBoard",
}  # optional packages and what they open
LITTLE_DISK_BYTES = 2 * 10**9
"""What 5,000 samples of 256 px take in the default formats (see ``estimate.BYTES_A_PIXEL``)."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: not ``healthy`` where the main job cannot work."""

    name: str
    value: str
    healthy: bool = True
    advice: str | None = None


def examine(out: Path, *, render: bool = True) -> list[Finding]:
    """Look at packages, devices, cache, the disk of ``out`` and the embedded domain."""
    import torch
    from huggingface_hub import get_token

    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    devices = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = f"{facts.total_memory / 2**30:.0f} GB"
        devices.append(Finding(f"cuda:{index}", f"{facts.name}, {memory}"))
    if torch.backends.mps.is_available():
        devices.append(Finding("mps", "available"))
    cache = default_cache()
    there = Finding("cache", f"{cache}")
    if not os.access(_nearest(cache), os.W_OK):
        advice = "set L4F_CACHE to a folder that can be written"
        there = Finding("cache", f"{cache} cannot be written", healthy=False, advice=advice)
    free = shutil.disk_usage(_nearest(out)).free
    room = "make room or name another --out" if free < LITTLE_DISK_BYTES else None
    # That there is one is all that is ever said of a token.
    token = Finding("hub token", "found")
    if get_token() is None:
        advice = "only `push` needs one: `hf auth login` or HF_TOKEN"
        token = Finding("hub token", "none", advice=advice)
    findings = [
        Finding("l4f-datagen", version("l4f-datagen")),
        Finding("python", platform.python_version()),
        Finding("torch", torch.__version__),
        Finding("cpu", f"{cores}, {torch.backends.cpu.get_cpu_capability()}"),
        *(devices or [Finding("gpu", "none; the CPU does it all, slower")]),
        there,
        Finding("free disk", f"{free / 1e9:.1f} GB", advice=room),
        Finding("network", "off: nothing will be fetched" if is_offline() else "used when asked"),
        token,
    ]
    for package, use in EXTRAS.items():
        known = "installed" if find_spec(package) else "not installed"
        with suppress(PackageNotFoundError):
            known = version(package)
        findings.append(Finding(package, f"{known} ({use})"))
    return [*findings, _self_test()] if render else findings


def _nearest(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _self_test() -> Finding:
    try:
        samples = render_toy_cars()
    except Exception as error:  # whatever it is, it is what the user came to hear
        advice = "install again with the versions of constraints.txt"
        return Finding("self-test", f"failed: {error}", healthy=False, advice=advice)
    share = sum(float(sample.mask.mean()) for sample in samples) / len(samples)
    value = f"{len(samples)} toy cars rendered, masks cover {share:.0%}"
    healthy = 0.05 < share < 0.6
    cure = None if healthy else "install again; the weights are off"
    return Finding("self-test", value, healthy, cure)


def render_toy_cars() -> list[Sample]:
    """Render the first block of the embedded domain on the CPU."""
    from l4f_datagen.pipeline.networks import obtain_networks
    from l4f_datagen.recipe.domains import load_recipe
    from l4f_datagen.rendering.plan import sweep_of

    recipe = load_recipe("toy-cars")
    renderer = obtain_networks(recipe, "cpu", offline=True).renderer
    return renderer.render(next(sweep_of(recipe.sampling).shard(0)))
