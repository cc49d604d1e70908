"""Scores of a set of images: pooled numbers, their table in the paper's columns, COCO's AP."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.core.masks import Mask
from l4f_datagen.scoring.bootstrap import pooled_metrics
from l4f_datagen.scoring.image_score import (
    ClassScores,
    ImageScore,
    class_scores,
    confusion,
    mean_iou,
    stacked,
)

AP_NAMES = ("ap", "ap50", "ap75")  # mean over IoU .50:.95, at .50, at .75
JSON_NAMES = {"foreground": "object", "sad": "sad_kpx"}


@dataclass(frozen=True)
class Scores:
    """The scores of a set of images, in the order of JSON."""

    miou: float  # mean of both classes, as are F1, precision and recall; pooled
    iou_object: float
    iou_background: float
    f1: float
    precision: float
    recall: float
    accuracy: float  # share of pixels that agree, the same for both classes
    foreground: ClassScores  # of the object, pooled
    background: ClassScores
    mean_iou_per_image: float  # mean over images of the image's own mIoU (not pooled)
    worst_object_iou: float  # lowest IoU of the object on one image
    boundary_f: float  # mean over images
    mae: float | None  # mean over images; None without soft predictions, as is the next
    sad: float | None  # mean over images, thousands of pixels
    truth_coverage: float  # object share of the scored pixels in the truth
    coverage: float  # object share of the scored pixels in the prediction
    num_images: int
    num_pixels: int  # scored
    paper_compat: bool  # computed as the authors did
    counts: tuple[int, int, int, int]  # pooled, as `confusion` counts, without ignored pixels

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; rounded to 4 digits, as the authors print, in paper-compat."""
        own = {JSON_NAMES.get(name, name): each for name, each in asdict(self).items()}
        del own["counts"]
        return _rounded(own) if self.paper_compat else own

    def table(self, title: str = "") -> str:
        """Text table in the paper's columns, object and background by their true names.

        In paper-compat the authors' names stand beside them, who call black 'fg' and white 'bg'.
        """
        theirs = ("  (authors: 'fg')", "  (authors: 'bg')") if self.paper_compat else ("", "")
        means = (self.miou, self.f1, self.precision, self.recall, self.accuracy)
        rows = {
            f"background{theirs[0]}": (*astuple(self.background), self.accuracy),
            f"object{theirs[1]}": (*astuple(self.foreground), self.accuracy),
            "mean": means,
        }
        wide = max(14, *map(len, rows)) + 2
        lines = [*filter(None, [title]), " " * wide + "   IoU     F1   Prec    Rec    Acc"]
        for name, cells in rows.items():
            lines.append(f"{name:<{wide}}" + " ".join(f"{cell:6.4f}" for cell in cells))
        pair = f"{self.iou_object:.4f}/{self.iou_background:.4f}"
        said = " ".join(f"{mean:6.4f}" for mean in means)
        lines += ["", f"{'':<{wide}}    IoU fg/bg   mIoU     F1   Prec    Rec    Acc"]
        return "\n".join([*lines, f"{'paper columns':<{wide}}{pair} {said}"])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def pool(images: Sequence[ImageScore], *, paper_compat: bool = False) -> Scores:
    """Pool images, at least one, into the scores of their set."""
    counts = stacked(images).sum(axis=0)
    background, foreground = class_scores(counts, paper_compat=paper_compat)
    metrics = pooled_metrics(counts, paper_compat=paper_compat)
    tp, fp, fn, tn = counts.tolist()
    pixels = tp + fp + fn + tn
    maes = [image.mae for image in images if image.mae is not None]
    sads = [image.sad for image in images if image.sad is not None]
    return Scores(
        **{name: float(value) for name, value in metrics.items()},
        foreground=foreground,
        background=background,
        mean_iou_per_image=float(np.mean([image.miou for image in images])),
        worst_object_iou=min(image.object_iou for image in images),
        boundary_f=float(np.mean([image.boundary_f for image in images])),
        mae=float(np.mean(maes)) if maes else None,
        sad=float(np.mean(sads)) if sads else None,
        truth_coverage=(tp + fn) / max(pixels, 1),
        coverage=(tp + fp) / max(pixels, 1),
        num_images=len(images),
        num_pixels=pixels,
        paper_compat=paper_compat,
        counts=(tp, fp, fn, tn),
    )


def collapse_warnings(scores: Scores) -> list[str]:
    """Say in words where a prediction is a constant mask.

    A mask that is all one class scores a macro recall of 0.50 and an mIoU of half its accuracy,
    whatever the truth: several rows of the paper's ablation show it.
    """
    lines = []
    if abs(scores.recall - 0.5) < 0.005 and abs(scores.miou - scores.accuracy / 2) < 0.005:
        lines.append(
            f"the masks look collapsed: recall {scores.recall:.2f} and mIoU {scores.miou:.2f} = "
            f"accuracy/2 are what one constant mask scores; the numbers say nothing about outlines"
        )
    for word, is_so in (("black", scores.coverage < 0.01), ("white", scores.coverage > 0.99)):
        if is_so:
            share = f"coverage {scores.coverage:.4f}"
            lines.append(f"the predicted masks are almost all {word} ({share})")
    tp, fp, fn, tn = scores.counts
    inverted_miou = mean_iou(np.asarray([fn, tn, tp, fp]))
    if inverted_miou > scores.miou + 0.2:
        lines.append(
            f"object and background look swapped: the inverted masks would score mIoU "
            f"{inverted_miou:.2f} instead of {scores.miou:.2f}"
        )
    return lines


class AveragePrecision:
    """COCO average precision, the whole mask of an image being its one object.

    Pairs are kept as run lengths and evaluated by pycocotools in one go. Ignored pixels become a
    crowd region, which COCO leaves out of the count.
    """

    def __init__(self) -> None:
        self._truth: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
        self._truth["categories"] = [{"id": 1, "name": "object"}]
        self._found: list[tuple[float, float, dict[str, Any]]] = []  # confidence, IoU, detection

    def update(self, truth: Mask, mask: Mask, ignore: Mask | None, score: float) -> None:
        """Add one image: masks, bool ``h w``, and the confidence of the prediction in [0, 1]."""
        images, regions = self._truth["images"], self._truth["annotations"]
        images.append({"id": len(images) + 1, "height": truth.shape[0], "width": truth.shape[1]})
        for region, is_crowd in ((truth, 0), (ignore, 1)):
            if region is not None and region.any():
                own = {"id": len(regions) + 1, "iscrowd": is_crowd}
                regions.append(_record(region, len(images)) | own)
        if mask.any():
            iou = class_scores(confusion(truth, mask, ignore))[1].iou
            self._found.append((score, iou, _record(mask, len(images))))

    def compute(self) -> dict[str, float]:
        """AP in [0, 1] by the names of `AP_NAMES`, 0 where nothing was predicted.

        The truth must hold an object.
        """
        # Of equal confidences COCO keeps the order: the best and the worst one must agree.
        best, worst = (self._evaluate(sign) for sign in (1, -1))
        if best != worst:
            between = f"between {worst['ap']:.4f} and {best['ap']:.4f} by the order of the files"
            problem = f"predictions of equal confidence: {between}"
            remedy = "score soft alphas or a COCO results file, or leave out --ap"
            raise AnnotationRefused("average precision", problem, remedy)
        return best

    def _evaluate(self, sign: int) -> dict[str, float]:
        if not self._found:
            return dict.fromkeys(AP_NAMES, 0.0)
        ranked = sorted(self._found, key=lambda found: (found[0], sign * found[1]))
        detections = [record | {"score": rank} for rank, (_, _, record) in enumerate(ranked)]
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycocotools prints its progress and warns of NumPy 2
            truth = COCO()
            truth.dataset = self._truth
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(detections), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: float(evaluation.stats[place]) for place, name in enumerate(AP_NAMES)}


def _record(mask: Mask, image_id: int) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    bbox = [float(side) for side in coco_mask.toBbox(rle)]
    own = {"segmentation": rle, "area": int(mask.sum()), "bbox": bbox}
    return {"image_id": image_id, "category_id": 1, **own}
