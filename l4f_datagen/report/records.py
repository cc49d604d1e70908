"""Records: the ledger of a dataset as columns, what of it is suspect, and its summary."""

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.core.sample import sample_key
from l4f_datagen.dataset.layout import LEDGER
from l4f_datagen.dataset.manifest import Row, read_manifest

MAX_ROW_BYTES = 64 * 2**10  # a choice, far above any row
REMEDY = "run the `make` that made the dataset again"
HIGH, LOW = 1, -1
SUSPECT = {
    "alpha_uncertainty": HIGH,
    "border_contact": HIGH,
    "num_components": HIGH,
    "largest_share": LOW,
    "discriminator": LOW,
    "noise_iou": LOW,
    "flip_iou": LOW,
    "refined": LOW,
    "refine_iou": LOW,
    "duplicate_distance": LOW,
}
"""Which end of a score is the worse one; of all others, coverage too, it is far from the median."""


@dataclass(frozen=True)
class Records:
    """Every attempted sample, in the order of the plan; columns of one length."""

    image_id: NDArray[np.int64]  # position in the plan, from 1
    psi: NDArray[np.float64]
    seed: NDArray[np.int64]
    shard: NDArray[np.int64]
    reason: NDArray[np.int64]  # index in ``reasons``; 0 for accepted samples
    reasons: tuple[str, ...]  # ``""`` for accepted, then the reasons in alphabetical order
    scores: Mapping[str, NDArray[np.float64]]  # NaN where a sample has no such score

    def __len__(self) -> int:
        """Count the attempts."""
        return len(self.image_id)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which samples have files."""
        return np.asarray(self.reason == 0)

    @property
    def coverage(self) -> NDArray[np.float64]:
        """The score of that name; NaN where there is none."""
        return self.scores.get("coverage", np.full(len(self), np.nan))

    def by_psi(self) -> Iterator[tuple[dict[str, Any], NDArray[np.bool_]]]:
        """Give each psi, rising, with its counts, and which samples of it are accepted."""
        for psi in np.unique(self.psi):
            here = self.psi == psi
            kept = here & self.accepted
            counts = {"attempted": int(here.sum()), "accepted": int(kept.sum())}
            yield {"psi": float(psi), **counts}, kept

    def rejected(self) -> dict[str, int]:
        """Count the rejected samples by reason."""
        counts = np.bincount(self.reason, minlength=len(self.reasons)).tolist()
        return dict(zip(self.reasons[1:], counts[1:], strict=True))

    def key(self, index: int) -> str:
        """Name of the sample at an index, as its files have it."""
        return sample_key(float(self.psi[index]), int(self.seed[index]))

    def badness(self) -> dict[str, NDArray[np.float64]]:
        """Rank all samples by each score, the worst highest: share of samples less suspect."""
        ranks = {}
        for name, values in self.scores.items():
            if SUSPECT.get(name) is None:
                known = values[~np.isnan(values)]
                values = np.abs(values - (np.median(known) if known.size else 0.0))
            values = np.where(np.isnan(values), -np.inf, SUSPECT.get(name, 1) * values)
            # Equal scores share the lowest rank, so that the many zeros of a score accuse nobody.
            places = np.searchsorted(np.sort(values), values, side="left")
            ranks[name] = places / max(len(values), 1)
        return ranks

    def worst(self) -> NDArray[np.float64]:
        """Rank all samples by the score in which each is worst, in [0, 1)."""
        ranks = list(self.badness().values())
        return np.max(ranks, axis=0) if ranks else np.zeros(len(self))


def records_of(rows: Iterable[Row]) -> Records:
    """Gather rows of a ledger, one at a time, into columns."""
    whole = {name: array("q") for name in ("image_id", "seed", "shard", "reason")}
    psi, codes = array("d"), {"": 0}
    scores: dict[str, array[float]] = {}
    for count, row in enumerate(rows):
        for name in ("image_id", "seed", "shard"):
            whole[name].append(row[name])
        psi.append(row["psi"])
        reason = "" if row["status"] == "accepted" else str(row["reason"])
        whole["reason"].append(codes.setdefault(reason, len(codes)))
        for name in row["scores"].keys() - scores.keys():
            scores[name] = array("d", [np.nan]) * count
        for name, column in scores.items():
            column.append(row["scores"].get(name, np.nan))
    reasons = tuple(sorted(codes))
    order = np.array([reasons.index(reason) for reason in codes], np.int64)
    columns = {name: np.array(column, np.int64) for name, column in whole.items()}
    return Records(
        **columns | {"reason": order[columns["reason"]]},
        psi=np.array(psi, np.float64),
        reasons=reasons,
        scores={name: np.array(scores[name], np.float64) for name in sorted(scores)},
    )


def read_records(folder: Path) -> Records:
    """Read the ledger of a dataset; refuse one that is missing or damaged."""
    path = folder / LEDGER
    try:
        with path.open("rb") as lines:
            return records_of(_rows(lines, path))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputRefused(os.fspath(path), problem, REMEDY) from error


def _rows(lines: Any, path: Path) -> Iterator[Row]:
    for number, line in enumerate(iter(lambda: lines.readline(MAX_ROW_BYTES), b""), 1):
        try:
            row = json.loads(line)
            yield {
                "image_id": int(row["image_id"]),
                "psi": float(row["psi"]),
                "seed": int(row["seed"]),
                "shard": int(row["shard"]),
                "status": {"accepted": "accepted", "rejected": "rejected"}[row["status"]],
                "reason": None if row["reason"] is None else str(row["reason"]),
                "scores": {str(name): float(score) for name, score in row["scores"].items()},
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"line {number} is no row of a ledger ({error})"
            raise InputRefused(os.fspath(path), problem, REMEDY) from error


QUANTILES = {"min": 0.0, "median": 0.5, "max": 1.0}


def dataset_facts(folder: Path) -> dict[str, Any]:
    """Sum up a dataset from its manifest and its ledger; scores are those of accepted samples."""
    manifest = read_manifest(folder)
    origin, records = manifest["provenance"], read_records(folder)
    accepted = records.accepted
    rows = []
    for row, here in records.by_psi():
        kept = records.coverage[here]
        rows.append(row | {"median_coverage": float(np.median(kept)) if kept.size else None})
    scores = {}
    for name, column in records.scores.items():
        kept = column[accepted & ~np.isnan(column)]
        if kept.size:
            scores[name] = {word: float(np.quantile(kept, q)) for word, q in QUANTILES.items()}
    output = origin["recipe"]["output"]
    dataset = {
        "domain": origin["domain"],
        **{name: output[name] for name in ("category", "formats", "mask_threshold")},
        "generator_sha256": origin["generator"]["sha256"],
        "alpha_sha256": origin["alpha"]["sha256"],
        "licence": origin["licence"]["name"],
        **{name: origin[name] for name in ("package", "device", "recipe_hash")},
    }
    counts: dict[str, Any] = {"accepted": int(accepted.sum()), "attempted": len(records)}
    counts |= {"rejected": records.rejected()}
    return {"dataset": dataset, "counts": counts, "psi": rows, "scores": scores}


def facts_text(facts: dict[str, Any]) -> str:
    """Write the facts for a terminal."""
    rejected = ", ".join(f"{why} {n}" for why, n in facts["counts"]["rejected"].items())
    named = facts["dataset"] | facts["counts"]
    named |= {"formats": ", ".join(named["formats"]), "rejected": rejected or "none"}
    lines = [f"{name:18s} {value}" for name, value in named.items()]
    lines += ["", f"{'psi':>8s} {'attempts':>9s} {'accepted':>9s} {'median coverage':>16s}"]
    for row in facts["psi"]:
        median = "-" if row["median_coverage"] is None else f"{row['median_coverage']:.3f}"
        lines.append(f"{row['psi']:8g} {row['attempted']:9d} {row['accepted']:9d} {median:>16s}")
    lines += ["", f"{'score of accepted':20s} {'min':>10s} {'median':>10s} {'max':>10s}"]
    for name, spread in facts["scores"].items():
        lines.append(f"{name:20s} " + " ".join(f"{spread[word]:10.4g}" for word in QUANTILES))
    return "\n".join(lines)
