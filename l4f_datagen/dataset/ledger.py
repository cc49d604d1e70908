"""Ledger: one row for every attempted sample, and the sums that must come out even."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l4f_datagen.core.sample import Sample

Row = dict[str, Any]


def ledger_row(sample: Sample, shard: int) -> Row:
    """Describe one attempt: image_id, key, psi, seed, shard, split, status, reason, scores."""
    return {
        "image_id": sample.image_id,
        "key": sample.key,
        "psi": float(sample.psi),
        "seed": int(sample.seed),
        "shard": shard,
        "split": sample.split,
        "status": sample.status,
        "reason": sample.reason,
        "scores": {name: float(score) for name, score in sample.scores.items()},
    }


def is_row(row: Row) -> bool:
    """Whether a row read from a file has the types of a row; KeyError where it lacks a part."""
    return (
        type(row["key"]) is type(row.get("split", "train")) is str
        and type(row["image_id"]) is type(row["seed"]) is type(row["shard"]) is int
        and type(row["psi"]) is float
        and (row["status"] == "accepted" or type(row["reason"]) is str)
        and set(map(type, row["scores"].values())) <= {float}
    )


@dataclass
class Counts:
    """How many samples were attempted, accepted and rejected, with their psi, seeds and splits."""

    attempted: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # reason to number
    empty_masks: int = 0  # accepted, without a mask pixel; COCO has no annotation for them
    filled_holes: int = 0  # holes in accepted masks that polygons fill
    psis: set[float] = field(default_factory=set)
    first_seed: int | None = None
    last_seed: int | None = None
    splits: Counter[str] = field(default_factory=Counter)  # of accepted samples
    # Name to smallest and largest value among the accepted samples.
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of the ledger."""
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for row in rows:
            self.attempted += 1
            if row["status"] == "accepted":
                self.accepted += 1
                self.splits[row.get("split", "train")] += 1
                for name, score in row["scores"].items():
                    scores[name].append(score)
            else:
                self.rejected[row["reason"]] += 1
            self.psis.add(row["psi"])
            self._widen(row["seed"])
        for name, values in scores.items():
            self._spread(name, min(values), max(values))

    def merge(self, other: "Counts") -> None:
        """Add the counts of another part of the plan."""
        self.attempted += other.attempted
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.empty_masks += other.empty_masks
        self.filled_holes += other.filled_holes
        self.psis |= other.psis
        self.splits += other.splits
        for name, (low, high) in other.scores.items():
            self._spread(name, low, high)
        for seed in (other.first_seed, other.last_seed):
            self._widen(seed)

    def _widen(self, seed: int | None) -> None:
        if seed is None:
            return
        self.first_seed = seed if self.first_seed is None else min(self.first_seed, seed)
        self.last_seed = seed if self.last_seed is None else max(self.last_seed, seed)

    def _spread(self, name: str, low: float, high: float) -> None:
        lowest, highest = self.scores.get(name, (low, high))
        self.scores[name] = (min(lowest, low), max(highest, high))

    def to_dict(self) -> dict[str, Any]:
        """Give the counts as the manifest has them."""
        return {
            "attempted": self.attempted,
            "accepted": self.accepted,
            "rejected": dict(sorted(self.rejected.items())),
            "empty_masks": self.empty_masks,
            "filled_holes": self.filled_holes,
        }


def empty_masks_note(counts: Mapping[str, Any]) -> str | None:
    """Say how many accepted samples have an empty mask, by a manifest's counts; None: none has."""
    empty, accepted = counts["empty_masks"], counts["accepted"]
    if not empty:
        return None
    remedy = "look at the contact sheet"
    if 10 * empty > accepted:  # a few objects may be missed, a tenth is no accident
        remedy = "the alpha network may be unusable: look at the contact sheet, use the filters"
    return f"{empty} of {accepted} masks are empty; {remedy}"
