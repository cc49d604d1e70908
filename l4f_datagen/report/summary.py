"""Summary: a finished dataset in a few lines, for a terminal or a machine."""

from pathlib import Path
from typing import Any

import numpy as np

from l4f_datagen.dataset.manifest import read_manifest
from l4f_datagen.report.records import read_records

QUANTILES = {"min": 0.0, "median": 0.5, "max": 1.0}


def dataset_facts(folder: Path) -> dict[str, Any]:
    """Sum up a dataset from its manifest and its ledger.

    Returns:
        ``dataset`` (domain, category, formats, weights, licence, package, device, recipe hash),
        ``counts`` (accepted, attempted, rejected by reason), ``psi`` (one row a value: attempted,
        accepted, median coverage of the accepted) and ``scores`` (of the accepted: min, median,
        max).

    Raises:
        UsageError: no finished dataset.
        InputRefused: a damaged manifest or ledger.
    """
    manifest = read_manifest(folder)
    origin, records = manifest["provenance"], read_records(folder)
    accepted = records.accepted
    coverage = records.scores.get("coverage", np.full(len(records), np.nan))
    rows = []
    for psi in np.unique(records.psi):
        here = records.psi == psi
        kept = coverage[here & accepted]
        rows.append(
            {
                "psi": float(psi),
                "attempted": int(here.sum()),
                "accepted": int((here & accepted).sum()),
                "median_coverage": float(np.median(kept)) if kept.size else None,
            }
        )
    scores = {}
    for name, column in records.scores.items():
        kept = column[accepted & ~np.isnan(column)]
        if kept.size:
            scores[name] = {word: float(np.quantile(kept, q)) for word, q in QUANTILES.items()}
    return {
        "dataset": {
            "domain": origin["domain"],
            "category": origin["recipe"]["output"]["category"],
            "formats": origin["recipe"]["output"]["formats"],
            "mask_threshold": origin["recipe"]["output"]["mask_threshold"],
            "generator_sha256": origin["generator"]["sha256"],
            "alpha_sha256": origin["alpha"]["sha256"],
            "licence": origin["licence"]["name"],
            "package": origin["package"],
            "device": origin["device"],
            "recipe_hash": origin["recipe_hash"],
        },
        "counts": {
            "accepted": int(accepted.sum()),
            "attempted": len(records),
            "rejected": {
                reason: int((records.reason == code).sum())
                for code, reason in enumerate(records.reasons)
                if code
            },
        },
        "psi": rows,
        "scores": scores,
    }


def facts_text(facts: dict[str, Any]) -> str:
    """Write the facts for a terminal."""
    named = {
        **facts["dataset"],
        "formats": ", ".join(facts["dataset"]["formats"]),
        "accepted": facts["counts"]["accepted"],
        "attempted": facts["counts"]["attempted"],
        "rejected": ", ".join(f"{why} {n}" for why, n in facts["counts"]["rejected"].items())
        or "none",
    }
    lines = [f"{name:18s} {value}" for name, value in named.items()]
    lines += ["", f"{'psi':>8s} {'attempts':>9s} {'accepted':>9s} {'median coverage':>16s}"]
    for row in facts["psi"]:
        median = "-" if row["median_coverage"] is None else f"{row['median_coverage']:.3f}"
        lines.append(f"{row['psi']:8g} {row['attempted']:9d} {row['accepted']:9d} {median:>16s}")
    lines += ["", f"{'score of accepted':20s} {'min':>10s} {'median':>10s} {'max':>10s}"]
    for name, spread in facts["scores"].items():
        values = " ".join(f"{spread[word]:10.4g}" for word in QUANTILES)
        lines.append(f"{name:20s} {values}")
    return "\n".join(lines)
