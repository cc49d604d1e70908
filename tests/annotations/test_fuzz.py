"""Whatever bytes come, a reader either reads them or refuses them with one line of its own."""

import copy
import json

import pytest
from annotation_exports import SPELLINGS, SQUARE, H, W, cvat, drawn, labelme, labelme_shape, ls, via
from annotation_exports import one as of_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused

VIA_ELLIPSE = {"name": "ellipse", "cx": 6, "cy": 6, "rx": 3, "ry": 2, "theta": 0.3}
SEEDS = {
    **SPELLINGS,
    "cvat ellipse": of_file(cvat('<ellipse label="car" cx="6" cy="6" rx="3" ry="2"/>'), "t.xml"),
    "label-studio ellipse": ls(drawn("ellipse", x=40, y=40, radiusX=20, radiusY=10, rotation=3)),
    "labelme circle": of_file(labelme(labelme_shape(points=[[6, 6], [6, 9]], shape_type="circle"))),
    "via ellipse": of_file({"a.jpg1": via(VIA_ELLIPSE)}),
}
LAST_OF_FORMAT = {case.split(" ")[0]: case for case in SPELLINGS}
DOCUMENTS = [case for case, (files, _) in SEEDS.items() if next(iter(files)).endswith(".json")]
ODD = [
    *(None, True, False, 0, -1, 1, 3, 1e308, -1e308, float("nan"), float("inf"), 10**12, 2**70),
    *("", "x", "NaN", "../../a", "\0", "\ud800", "POLYGON ((", "data:,"),
    *([], {}, [[]], [None], {"": 0}, [float("nan")] * 6, [1, 2, 3], {"x": 1}),
    [[1e9, 1e9], [-1e9, 1e9], [0, 0]],
    {"counts": "o" * 9, "size": [3, 3]},
    {"counts": [-1], "size": [1, 1]},
    [{"x": "a", "y": []}],
    {"url": "file:///etc/passwd"},
    {"url": "https://[broken"},
]


@pytest.fixture
def seed(saved):
    """Writes the files of a case, and gives a call that opens them with the first one changed.

    Everything is loaded; only a refusal of one line may come out.
    """

    def prepare(case):
        files, options = SEEDS[case]
        root = saved(t=files, masks=options.get("masks", {"f.png": SQUARE}))
        first = root / "t" / next(iter(files))
        path = first if len(files) == 1 else root / "t"
        options = {"category": "*", "boxes": "fill", "masks_dir": root / "masks"}

        def survives(data, name):
            first.write_bytes(data)
            refusal = None
            try:
                truth = load_annotations(path, format=name, **options)
                for item in truth:
                    loaded = item.load((H, W))
                    assert (loaded.mask.dtype, loaded.mask.ndim) == (bool, 2)
                    assert loaded.ignore is None or loaded.ignore.shape == loaded.mask.shape
                assert truth.notes() is not None
            except AnnotationRefused as error:
                refusal = error
            assert refusal is None or (refusal.subject and "\n" not in str(refusal))
            return "refused" if refusal else "read"

        return first.read_bytes(), survives

    return prepare


def places(node, path=()):
    """Paths of every value inside a JSON document."""
    listed = enumerate(node) if isinstance(node, list) else ()
    keyed = node.items() if isinstance(node, dict) else listed
    return [path, *(place for key, child in keyed for place in places(child, (*path, key)))]


def mutated(document, edits):
    document = copy.deepcopy(document)
    for pick, odd, action in edits:
        spots = [path for path in places(document) if path]
        if not spots:
            break
        path = spots[pick % len(spots)]
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        if action == "drop":
            del parent[path[-1]]
        elif action == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        else:
            parent[path[-1]] = copy.deepcopy(odd)
    return document


EDIT = (st.integers(0, 10**6), st.sampled_from(ODD), st.sampled_from(["set", "drop", "double"]))
EDITS = st.lists(st.tuples(*EDIT), min_size=1, max_size=4)
FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
QUIET = {"deadline": None, "database": None, "suppress_health_check": CHECKS}


def run_bytes(case, seed, examples):
    whole, survives = seed(case)

    @settings(max_examples=examples, **QUIET)
    @given(flips=FLIPS, cut=st.integers(0, 10**6), is_cut=st.booleans(), sniff=st.booleans())
    def go(flips, cut, is_cut, sniff):
        data = bytearray(whole)
        for place, value in flips:
            data[place % len(data)] = value
        survives(data[: cut % len(data)] if is_cut else data, None if sniff else case.split(" ")[0])

    go()


@pytest.mark.parametrize("name", LAST_OF_FORMAT)
def test_flipped_and_cut_bytes(seed, name):
    run_bytes(LAST_OF_FORMAT[name], seed, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", SEEDS)
def test_flipped_and_cut_bytes_at_length(seed, case):
    run_bytes(case, seed, 500)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", DOCUMENTS)
def test_odd_values_anywhere_at_length(seed, case):
    whole, survives = seed(case)
    rows = whole.splitlines() if case.endswith("NDJSON") else [whole]
    outcomes = set()

    @settings(max_examples=500, **QUIET)
    @given(edits=EDITS)
    def go(edits):
        text = "\n".join(json.dumps(mutated(json.loads(row), edits)) for row in rows)
        outcomes.add(survives(text.encode(), case.split(" ")[0]))

    go()
    assert outcomes == {"read", "refused"}
