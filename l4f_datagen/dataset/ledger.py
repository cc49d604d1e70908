"""Ledger: one row for every attempted sample, and the sums that must come out even."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l4f_datagen.core.sample import Sample

Row = dict[str, Any]


def ledger_row(sample: Sample, shard: int) -> Row:
    """Describe one attempt in plain values."""
    return {
        **{name: getattr(sample, name) for name in ("image_id", "key", "split")},
        **{"psi": float(sample.psi), "seed": int(sample.seed), "shard": shard},
        **{"status": sample.status, "reason": sample.reason},
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
    seeds: tuple[float, ...] = ()  # smallest and largest; empty before the first attempt
    splits: Counter[str] = field(default_factory=Counter)  # of accepted samples
    # Smallest and largest of each score among the accepted samples.
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count rows of the ledger."""
        accepted = [row for row in rows if row["status"] == "accepted"]
        self.attempted += len(rows)
        self.accepted += len(accepted)
        self.rejected.update(row["reason"] for row in rows if row["status"] != "accepted")
        self.splits.update(row.get("split", "train") for row in accepted)
        self.psis.update(row["psi"] for row in rows)
        self.seeds = _spread([*self.seeds, *(row["seed"] for row in rows)])
        for name in {name: None for row in accepted for name in row["scores"]}:
            found = [row["scores"][name] for row in accepted if name in row["scores"]]
            self.scores[name] = _spread([*self.scores.get(name, ()), *found])

    def to_dict(self) -> dict[str, Any]:
        """Give the counts as the manifest has them."""
        names = ("attempted", "accepted", "rejected", "empty_masks", "filled_holes")
        sums = {name: getattr(self, name) for name in names}
        return sums | {"rejected": dict(sorted(self.rejected.items()))}


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    return (min(values), max(values)) if values else ()


def empty_masks_note(counts: Mapping[str, Any]) -> str | None:
    """Say how many accepted samples have an empty mask, by a manifest's counts; None: none has."""
    empty, accepted = counts["empty_masks"], counts["accepted"]
    if not empty:
        return None
    remedy = "look at the contact sheet"
    if 10 * empty > accepted:  # a few objects may be missed, a tenth is no accident
        remedy = "the alpha network may be unusable: look at the contact sheet, use the filters"
    return f"{empty} of {accepted} masks are empty; {remedy}"
