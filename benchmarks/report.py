"""How long the report of a large dataset takes, how much memory, and how large the page is.

The dataset is synthetic: a ledger of N rows and Parquet files with N images, a few of them drawn
and the rest repeated, as the reader cannot know. The report runs in a process of its own.

    python benchmarks/report.py --n 50000 --px 64
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from l4f_datagen.core.masks import alpha_to_mask
from l4f_datagen.core.sample import Sample, sample_key
from l4f_datagen.dataset.formats.encoding import Encoder
from l4f_datagen.dataset.manifest import dump_json
from l4f_datagen.recipe import OutputPart, check_recipe

SHARD, DRAWN = 512, 48
PSIS = (0.5, 0.7, 1.0)


def drawn_sample(seed: int, side: int) -> Sample:
    """A noisy disc."""
    rng = np.random.RandomState(seed)
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    distance = np.hypot(rows - rng.uniform(0.4, 0.6), columns - rng.uniform(0.4, 0.6))
    alpha = np.clip((rng.uniform(0.2, 0.35) - distance) * 20 + 0.5, 0, 1).astype(np.float32)
    image = (alpha[..., None] * rng.randint(60, 255, 3) + rng.randint(0, 60, (side, side, 3))).clip(
        0, 255
    )
    mask = alpha_to_mask(alpha, 0.5)
    return Sample(seed + 1, sample_key(1.0, seed), 1.0, seed, image.astype(np.uint8), alpha, mask)


def ledger_rows(n: int) -> Iterator[dict[str, Any]]:
    """N attempts, one in eight rejected."""
    rng = np.random.RandomState(0)
    for k in range(n):
        psi, seed = PSIS[k % len(PSIS)], k // len(PSIS)
        reason = (None, "coverage_low")[int(rng.rand() < 0.125)]
        scores = {
            "coverage": round(float(rng.beta(8, 20)), 6),
            "border_contact": round(float(max(0, rng.normal(-0.1, 0.1))), 6),
            "alpha_uncertainty": round(float(rng.gamma(3, 0.005)), 6),
            "num_components": float(rng.poisson(0.3) + 1),
            "largest_share": round(1 - float(rng.rand() ** 8) / 2, 6),
        }
        yield {
            "image_id": k + 1,
            "key": sample_key(psi, seed),
            "psi": psi,
            "seed": seed,
            "shard": k // SHARD,
            "status": "rejected" if reason else "accepted",
            "reason": reason,
            "scores": scores,
        }


def make_up(folder: Path, n: int, side: int) -> None:
    """Write ledger, manifest and Parquet files."""
    drawn = [drawn_sample(seed, side) for seed in range(DRAWN)]
    encoded = [file for _, file in Encoder(OutputPart()).encode(drawn) if file is not None]
    (folder / "data").mkdir()
    rows = list(ledger_rows(n))
    (folder / "ledger.jsonl").write_bytes(b"".join(map(dump_json, rows)))
    for first in range(0, n, SHARD):
        shard = [row for row in rows[first : first + SHARD] if row["reason"] is None]
        files = [encoded[row["seed"] % DRAWN] for row in shard]
        table = pa.table(
            {
                "key": [row["key"] for row in shard],
                **{
                    part: [{"bytes": getattr(file, part), "path": None} for file in files]
                    for part in ("image", "mask", "alpha")
                },
            }
        )
        path = folder / "data" / f"train-{first // SHARD:05d}.parquet"
        pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=100)
    recipe = check_recipe({"domain": "made-up", "output": {"formats": ["hf"]}}, "benchmark")
    origin = {
        "domain": recipe.domain,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": "0" * 64,
        "generator": {"format": "none", "sha256": "0" * 64, "resolution": side},
        "alpha": {"sha256": "0" * 64},
        "licence": {"name": "apache-2.0", "link": None, "commercial": True},
        "package": "l4f-datagen",
        "device": "cpu",
    }
    (folder / "manifest.json").write_text(json.dumps({"provenance": origin}))


def main() -> None:
    """Write a synthetic dataset, report on it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--px", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_up(folder, options.n, options.px)
        command = [sys.executable, "-m", "l4f_datagen", "report", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = (folder / "report.html").stat().st_size
    print(f"{options.n} samples of {options.px} px: {used.ru_utime + used.ru_stime:.1f} s of CPU, "
          f"peak {used.ru_maxrss / 1024:.0f} MB, page {size / 1e6:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
