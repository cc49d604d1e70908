"""Checkpoints: how far from the reference code, and how fast and lean against torch.load.

    python benchmarks/checkpoints.py [--reference DIR] [--runs 3] [--json]

Prints the largest absolute difference of each reference file (skipped without ``--reference`` or
``L4F_SHARED``), and for 1024 px config-f files of every format (random weights, written to a
temporary folder) the time and the peak memory until the generator is ready, each in a process of
its own, against plain ``torch.load`` of the same tensors. Medians of ``--runs``.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}

# Runs in a fresh process, so that peaks do not add up: what is imported first does not count.
MEASURED = """
import json, sys, time
from pathlib import Path
import torch
from l4f_datagen.checkpoints.open import open_generator
torch.set_num_threads(1)

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

kind, path = sys.argv[1:]
open_generator(Path(path).with_name("warm")).build()
Path("/proc/self/clear_refs").write_text("5")
before, start, cpu = status("VmRSS"), time.perf_counter(), time.process_time()
if kind == "torch.load":
    kept = torch.load(path, weights_only=True)
else:
    kept = open_generator(path).build()
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu,
    "peak_mib": (status("VmHWM") - before) / 1024,
}))
"""


def _foreign() -> Any:
    path = ROOT / "tests" / "checkpoints" / "foreign.py"
    spec = importlib.util.spec_from_file_location("checkpoint_tests_foreign", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def differences(reference: Path) -> dict[str, dict[str, float]]:
    """Return file -> what is compared -> largest absolute difference."""
    import numpy as np
    import torch

    from l4f_datagen.checkpoints.open import open_alpha, open_generator
    from l4f_datagen.models.generator import draw_z

    def largest(ours: torch.Tensor, expected: Any) -> float:
        return float(np.abs(ours.numpy() - expected.astype(np.float32)).max())

    table: dict[str, dict[str, float]] = {}
    for name in ("ada_64.pkl", "sg3repo_32.pkl", "tf_64.pkl", "rosinality_64_converted.pt"):
        known = "ada_64" if name.startswith("tf") else name.rpartition("_converted")[0] or name[:-4]
        expected = np.load(reference / f"{known}_expected.npz")
        generator = open_generator(reference / name).build()
        z = torch.from_numpy(draw_z([int(k) for k in expected["seeds"]], generator.spec.z_dim))
        table[name] = {
            "w": largest(generator.mapping(z), expected["w_psi1.0"]),
            "image psi 1.0": largest(generator(z).image, expected["img_psi1.0"]),
            "image psi 0.7": largest(generator(z, 0.7).image, expected["img_psi0.7"]),
        }
        if name != "sg3repo_32.pkl":
            features = generator(z[:1]).features
            stored = np.load(reference / "ada_64_features.npz")
            table[name]["features (fp16)"] = max(
                largest(ours, stored[f"b{side}_conv{k + (side == 4)}"])
                for side, maps in features.items()
                for k, ours in enumerate(maps)
            )
    name = "rosinality_64_trained.pt"
    expected = np.load(reference / "rosinality_64_expected.npz")
    generator = open_generator(reference / name).build()
    z = torch.from_numpy(draw_z([int(k) for k in expected["seeds"]], generator.spec.z_dim))
    table[name] = {
        "w": largest(generator.mapping(z), expected["w_psi1.0"]),
        "image psi 1.0": largest(generator(z).image, expected["img_psi1.0"]),
        "w_avg": largest(generator.w_avg, expected["mean_w_10000"]),
    }
    for name, mute, stride in (("l4f_bg_256.pt", "conv1", 4), ("l4f_bg_512.pt", "const", 8)):
        expected = np.load(reference / name.replace(".pt", "_expected.npz"))
        generator = open_generator(reference / name).build()
        z = torch.from_numpy(draw_z([0, 1], generator.spec.z_dim))
        table[name] = {}
        for psi in (1.0, 0.5):
            for kind, muted in (("fg", None), ("bg", mute)):
                image = generator(z, psi, mute=muted).image[:, :, ::stride, ::stride]
                key = f"{kind}_psi{psi}_stride{stride}"
                table[name][f"{kind} psi {psi}"] = largest(image, expected[key])
    for size, stride in ((256, 1), (512, 2), (1024, 4)):
        name = f"l4f_alpha_{size}.pt"
        expected = np.load(reference / name.replace(".pt", "_expected.npz"))
        network = open_alpha(reference / name).build()
        stream = np.random.RandomState(int(expected["feature_seed"]))
        batch = 2 if size == 256 else 1

        def draw(width: int, side: int, stream: Any = stream, batch: int = batch) -> torch.Tensor:
            return torch.from_numpy(
                stream.standard_normal((batch, width, side, side)).astype(np.float32)
            )

        features = {side: [draw(c, side), draw(c, side)] for side, c in network.channels.items()}
        alpha = network(features)
        table[name] = {
            "alpha (fp16)": largest(
                alpha[:, :, ::stride, ::stride], expected[f"alpha_stride{stride}"]
            ),
            "crop": largest(alpha[0, 0, :48, :48], expected["crop_tl"].reshape(48, 48)),
        }
    return table


def write_large(folder: Path) -> dict[str, Path]:
    """Write 1024 px config-f files of random weights in every format; all hold the same."""
    import torch

    from l4f_datagen.checkpoints.native import save_generator
    from l4f_datagen.models.generator import Generator, GeneratorSpec

    make = _foreign()
    torch.manual_seed(0)
    spec = GeneratorSpec(1024, WIDTHS)
    generator = Generator(spec).eval().requires_grad_(False)
    warm = make.make_generator()
    save_generator(folder / "warm", warm.spec, warm.state_dict())
    save_generator(folder / "l4f-datagen", spec, generator.state_dict())
    converted = make.rosinality_converted(generator)
    make.write_torch(folder / "rosinality", converted)
    make.write_torch(folder / "rosinality-old", converted, legacy=True)
    make.write_pickle(folder / "nvlabs-pytorch", {"G_ema": make.ada_generator(generator)})
    make.write_pickle(folder / "nvlabs-tensorflow", (None, None, make.tf_generator(generator)))
    names = ("rosinality", "rosinality-old", "l4f-datagen", "nvlabs-pytorch", "nvlabs-tensorflow")
    return {name: folder / name for name in names}


def measure(kind: str, path: Path) -> dict[str, float]:
    """Return seconds and peak memory of opening one file in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def speeds(runs: int) -> dict[str, dict[str, float]]:
    """Return format -> medians, and ratios to torch.load in the same rounds."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_large(Path(folder))
        jobs = [("torch.load", files["rosinality"]), *files.items()]
        rounds = [{name: measure(name, path) for name, path in jobs} for _ in range(runs)]
        megabytes = files["l4f-datagen"].stat().st_size / 2**20
    table: dict[str, dict[str, float]] = {}
    for name, _ in jobs:
        table[name] = {
            key: statistics.median(measured[name][key] for measured in rounds)
            for key in rounds[0][name]
        }
        for key in ("seconds", "cpu_seconds"):
            table[name][f"{key}_ratio"] = statistics.median(
                measured[name][key] / measured["torch.load"][key] for measured in rounds
            )
        table[name]["peak_ratio"] = table[name]["peak_mib"] / megabytes
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = os.environ.get("L4F_SHARED")
    default = Path(shared) / "fixtures" / "checkpoints" if shared else None
    parser.add_argument("--reference", type=Path, default=default)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    found = differences(options.reference) if options.reference else {}
    timed = speeds(options.runs)
    if options.json:
        print(json.dumps({"differences": found, "opening": timed}, indent=2))
        return
    print("largest absolute difference from the reference code")
    for name, row in found.items():
        print(f"  {name:28}", "  ".join(f"{key} {value:.1e}" for key, value in row.items()))
    print("1024 px config-f, from file to ready generator")
    for name, numbers in timed.items():
        print(
            f"  {name:28}{numbers['seconds']:.2f} s ({numbers['seconds_ratio']:.2f} x torch.load,"
            f" processor time {numbers['cpu_seconds_ratio']:.2f} x)  peak"
            f" {numbers['peak_mib']:.0f} MiB ({numbers['peak_ratio']:.2f} x the tensors)"
        )


if __name__ == "__main__":
    main()
