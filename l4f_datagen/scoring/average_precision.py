"""COCO average precision through pycocotools, with the whole mask of an image as its one object.

The detection score is the mean alpha inside the mask, or 1 for hard masks. Ignored pixels become a
crowd region, which COCO leaves out of the count.
"""

import contextlib
import io
import warnings
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from l4f_datagen.scoring.metrics import Mask

NAMES = ("ap", "ap50", "ap75")  # mean over IoU .50:.95, at .50, at .75


class AveragePrecision:
    """Collects pairs as run lengths, then evaluates them in one go."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []

    def update(self, truth: Mask, mask: Mask, ignore: Mask | None, score: float) -> None:
        """Add one image.

        Args:
            truth: bool ``h w``.
            mask: bool ``h w``, the prediction.
            ignore: bool ``h w`` or None.
            score: confidence of the prediction in [0, 1].
        """
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": truth.shape[0], "width": truth.shape[1]})
        for region, is_crowd in ((truth, 0), (ignore, 1)):
            if region is not None and region.any():
                record = self._record(image_id, region)
                self._truth.append({**record, "id": len(self._truth) + 1, "iscrowd": is_crowd})
        if mask.any():
            self._detections.append({**self._record(image_id, mask), "score": score})

    @staticmethod
    def _record(image_id: int, mask: Mask) -> dict[str, Any]:
        rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
        return {
            "image_id": image_id,
            "category_id": 1,
            "segmentation": rle,
            "area": int(mask.sum()),
            "bbox": [float(side) for side in coco_mask.toBbox(rle)],
        }

    def compute(self) -> dict[str, float]:
        """AP in [0, 1] by the names of `NAMES`; 0 where nothing was predicted.

        Raises:
            ValueError: no truth with an object.
        """
        if not any(not record["iscrowd"] for record in self._truth):
            raise ValueError("average precision needs at least one object in the truth")
        if not self._detections:
            return dict.fromkeys(NAMES, 0.0)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycocotools prints its progress and warns of NumPy 2
            truth = COCO()
            truth.dataset = {
                "info": {},
                "images": self._images,
                "annotations": self._truth,
                "categories": [{"id": 1, "name": "object"}],
            }
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(self._detections), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: float(evaluation.stats[place]) for place, name in enumerate(NAMES)}
