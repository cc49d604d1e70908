import numpy as np
import pytest

from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.scoring.pairing import looks_shifted, natural_order, pair_names

KEY, STEM, NUMBER = ({"pair_by": rule} for rule in ("key", "stem", "number"))
FACES = [f"Face{n}.png" for n in range(1, 13)]


def paired(truth, predicted, **more):
    pairing = pair_names(truth, predicted, **more)
    return pairing, [(truth[a], predicted[b]) for a, b in pairing.pairs]


def test_keys_anywhere_in_the_name_pair_and_leave_the_rest_unused():
    truth = ["export/psi0700-seed0000003_mask.png", "b_psi0500-seed0000001.jpg"]
    predicted = [f"masks/psi{psi:04d}-seed{s:07d}.png" for psi in (500, 700) for s in range(5)]
    pairing, pairs = paired(truth, predicted)
    assert pairing.rule == "key"
    keys = ("psi0700-seed0000003", "psi0500-seed0000001")
    assert pairs == [(name, f"masks/{key}.png") for name, key in zip(truth, keys, strict=True)]
    assert "2 pairs by key" in str(pairing)
    assert "8 predictions without truth" in str(pairing)
    allowed = str(pair_names(["a.png"], ["a.png", "z.png"], allow_unused=True))
    assert allowed.endswith("; 1 predictions without truth: z.png")
    left = str(pair_names(["a.png"], ["a.png", "z.png"], left_out=["z.jpg"]))
    assert left.endswith("(a.png with a.png); 1 predictions of images without annotation left out")


def test_stems_pair_without_folders_suffixes_and_mask_words():
    pairing, pairs = paired(["gt/Dog_gt.png", "gt/mask_cat.png"], ["p/cat_pred.webp", "p/dog.png"])
    assert pairing.rule == "stem"
    assert pairs == [("gt/Dog_gt.png", "p/dog.png"), ("gt/mask_cat.png", "p/cat_pred.webp")]


def test_the_papers_faces_pair_by_number_in_any_order():
    pairing, pairs = paired(sorted(FACES), [f"{n}.png" for n in range(1, 13)])  # Face1, Face10, ...
    assert (pairing.rule, pairing.offset) == ("number", 0)
    assert {("Face10.png", "10.png"), ("Face2.png", "2.png")} <= set(pairs)


def test_masks_counted_from_one_and_images_from_zero_get_an_offset():
    pairing, pairs = paired([f"Car{n}.png" for n in range(1, 11)], [f"{n}.png" for n in range(10)])
    assert pairing.offset == 1
    assert pairs[0] == ("Car1.png", "0.png")
    assert "prediction number +1" in str(pairing)
    _, given = paired(["Car7.png"], ["1.png", "4.png"], offset=3, allow_unused=True)
    assert given == [("Car7.png", "4.png")]


@pytest.mark.parametrize(
    ("truth", "predicted", "more", "match"),
    [
        ("a.png b.png", "a.png", {}, r"truth b\.png: no prediction when pairing by stem"),
        ("a.png", "a.png z.png", {}, r"prediction z\.png: no truth"),
        ("x/a.png y/a.png", "a.png", {}, r"truth x/a\.png and y/a\.png: both mean stem a"),
        ("a1.png", "b1.png c1.png", {}, r"truth a1\.png: no prediction when pairing by stem"),
        ("c1.png c3.png", "1.png 2.png", {}, r"truth c3\.png: no prediction"),
        ("c1.png", "5.png", {"offset": 2}, r"truth c1\.png: no prediction .* offset \+2"),
        ("a1.png", "b1.png c1.png", NUMBER, r"b1\.png and c1\.png: both mean number"),
        ("a.png", "a.png", KEY, r"truth a\.png: its name holds no key"),
        ("a.png", "a1.png", NUMBER, r"truth a\.png: its name holds no number"),
        ("", "a.png", {}, "truth: holds no image"),
        ("a.png", "", {}, "prediction: holds no image"),
        ("m0 m1 m2 m3 m4 m5 m6 m7 m8", "other", STEM, "m0, m1, m2, m3, m4 and 4 more"),
        ("psi0700-seed0000001", "psi0700-seed0000000", KEY, "psi0700-seed0000001"),
        ("psi0700-seed0000000", "psi0700-seed0000000 psi0700-seed0000001",
         KEY | {"allow_unused": False}, "no truth when pairing by key"),
    ],
)  # fmt: skip
def test_pairing_errors_name_the_files(truth, predicted, more, match):
    with pytest.raises(AnnotationRefused, match=match):
        pair_names(truth.split(), predicted.split(), **more)


def test_natural_order_counts_as_people_do():
    names = ["b2", "a10", "a2", "a1", "3"]
    assert [names[place] for place in natural_order(names)] == ["3", "a1", "a2", "a10", "b2"]


@pytest.fixture
def truth():
    random, discs = np.random.RandomState(0), []
    rows, columns = np.mgrid[:32, :32]
    for _ in FACES:
        row, column, radius = random.randint(8, 24), random.randint(8, 24), random.randint(4, 12)
        discs.append(np.hypot(rows - row, columns - column) < radius)
    return np.stack(discs)


AS_TEXT = sorted(range(12), key=lambda place: str(place + 1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda masks: np.roll(masks, 1, axis=0), "shifted by one"),
        (lambda masks: np.roll(masks, -1, axis=0), "shifted by one"),
        (lambda masks: masks[AS_TEXT], "sorted as text"),
        (lambda masks: masks[:, ::-1], "upside down"),
        (lambda masks: masks[:, :, ::-1], "mirrored"),
    ],
)
def test_another_order_or_a_flip_is_warned_about(truth, spoil, words):
    assert words in looks_shifted(FACES, truth, spoil(truth))


def test_good_or_bad_masks_and_two_pairs_are_not_called_shifted(truth):
    assert looks_shifted(FACES, truth, truth) is None
    assert looks_shifted(FACES, truth, ~truth) is None
    assert looks_shifted(FACES[:2], truth[:2], truth[1::-1]) is None


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="expected pair_by auto, key, stem, number, got 'nam"):
        pair_names(["a.png"], ["a.png"], pair_by="nam")
