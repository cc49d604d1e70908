from itertools import combinations

import numpy as np
import pytest

from l4f_datagen.annotations.bundle import Bundle
from l4f_datagen.annotations.shapes import ImageShapes, Label, Shape, truth_from_shapes
from l4f_datagen.annotations.truth import TruthOptions
from l4f_datagen.core.errors import AnnotationRefused


def disc(column=10.0, size=(20, 24)):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(rows - 10, columns - column) < 6


def shape(mask, kind="area", category="car"):
    return Shape((category,), "export.json object 1", lambda _: mask.copy(), kind)


def truth_of(*annotators, size_hw=(20, 24), **options):
    labels = [Label(list(one)) for one in annotators]
    image = ImageShapes("a.png", "export.json row 1", size_hw, labels)
    names = ("export.json",)
    bundle = Bundle("export.json", names, lambda _: b"", "file", TruthOptions(**options))
    return truth_from_shapes(bundle, [image])


def test_objects_of_one_annotator_are_joined_and_points_are_only_counted():
    point = Shape(("car",), "r", None, "other")
    truth = truth_of([shape(disc(6)), shape(disc(16)), point])
    np.testing.assert_array_equal(truth[0].load().mask, disc(6) | disc(16))
    assert truth.notes() == ["1 points, lines or other objects without an area skipped"]
    with pytest.raises(AnnotationRefused, match="boxes or points only"):
        truth_of([point])


@pytest.mark.parametrize("columns", [(8, 10, 13), (8, 12)])
def test_annotators_vote_by_majority_and_ties_are_ignored(columns):
    masks = [disc(column) for column in columns]
    truth = truth_of(*[[shape(mask)] for mask in masks])
    loaded, count = truth[0].load(), np.sum(masks, axis=0)
    np.testing.assert_array_equal(loaded.mask, 2 * count > len(masks))
    ties = 2 * count == len(masks)
    ignore = np.zeros_like(ties) if loaded.ignore is None else loaded.ignore
    np.testing.assert_array_equal(ignore, ties)
    assert truth.tally["pixels ignored: the annotators tie"] == ties.sum()
    pairs = [(a & b).sum() / (a | b).sum() for a, b in combinations(masks, 2)]
    assert truth.agreements == [pytest.approx(np.mean(pairs))]
    assert f"mean pairwise IoU {np.mean(pairs):.4f}" in truth.notes()[-1]


@pytest.mark.parametrize(
    ("annotators", "expected"),
    [("union", disc(8) | disc(12)), ("intersection", disc(8) & disc(12)), ("first", disc(8))],
)
def test_other_ways_to_join_annotators(annotators, expected):
    truth = truth_of([shape(disc(8))], [shape(disc(12))], annotators=annotators)
    loaded = truth[0].load()
    np.testing.assert_array_equal(loaded.mask, expected)
    assert loaded.ignore is None
    if annotators == "first":
        assert truth.notes() == ["1 labels of further annotators unused"]


def test_an_annotator_who_saw_nothing_votes_too():
    truth = truth_of([shape(disc())], [], [])
    assert not truth[0].load().mask.any()
    assert truth.agreements == [pytest.approx(1 / 3)]  # 0, 0 and two empty masks agree: 1


def test_sizes_come_from_the_mask_or_the_caller():
    np.testing.assert_array_equal(truth_of([shape(disc())], size_hw=None)[0].load().mask, disc())
    truth = truth_of([shape(disc())], [], size_hw=None)
    assert truth[0].load((20, 24)).mask.shape == (20, 24)
    with pytest.raises(AnnotationRefused, match="row 1: does not say how large"):
        truth[0].load()
    with pytest.raises(AnnotationRefused, match="a mask of 24 x 20 pixels on an image of 20 x 20"):
        truth_of([shape(disc())], size_hw=(20, 20))[0].load()
    two = truth_of([shape(disc())], [shape(disc(size=(30, 30)))], size_hw=None)
    with pytest.raises(AnnotationRefused, match="annotators drew on images of different sizes"):
        two[0].load()


def test_mask_values_are_refused_and_many_categories_listed_briefly():
    with pytest.raises(AnnotationRefused, match="holds objects, not levels"):
        truth_of([shape(disc())], mask_value="1")
    shapes = [shape(disc(), category=f"class {n:02d}") for n in range(20)]
    with pytest.raises(AnnotationRefused, match=r"20 categories .* 'class 11' and 8 more, or '\*'"):
        truth_of(shapes)
