"""Recipe part: how the samples are divided into train, val and test."""

from typing import Any

from pydantic import model_validator

from l4f_datagen.recipe.values import Part, Share


class SplitPart(Part):
    """Shares of the seeds; ``train`` left out takes what val and test leave."""

    train: Share = 1.0
    val: Share = 0.0
    test: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _train_takes_the_rest(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "train" in data:
            return data
        others = [data.get(name, 0) for name in ("val", "test")]
        if not all(type(share) in (int, float) for share in others):
            return data  # the fields say what is wrong
        return data | {"train": max(0.0, round(1 - sum(others), 9))}

    @model_validator(mode="after")
    def _whole(self) -> "SplitPart":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test add up to {total:g}, expected 1")
        return self
