"""Whatever bytes come, a reader either reads them or refuses them with one line of its own."""

import copy
import csv
import io
import json
import zipfile
import zlib
from pathlib import Path

import annotation_exports as exports
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_exports import RING, SQUARE, H, W
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l4f_datagen.annotations import READERS, load_annotations
from l4f_datagen.core.errors import AnnotationRefused

PNG = exports.png(SQUARE)
SIDES = {"top": 1, "left": 2, "height": 3, "width": 4}
OBJECT = {"feature_id": "f", "name": "car"}
LABELBOX = exports.labelbox_label(
    exports.labelbox_object(),
    OBJECT | {"mask": {"url": "https://h/f"}},
    OBJECT | {"composite_mask": {"url": "u", "color_rgb": [255] * 3}},
    OBJECT | {"bounding_box": SIDES},
)
OLD_OBJECT = {"featureId": "f", "title": "car"}
LEGACY = [
    exports.legacy_object(),
    OLD_OBJECT | {"instanceURI": "https://h/f"},
    OLD_OBJECT | {"bbox": SIDES},
]
WKT = "MULTIPOLYGON (((2 3, 11 3, 11 9, 2 9, 2 3), (4 4, 5 4, 5 5)))"
FORMS = [WKT, [{"geometry": exports.xy(RING)}]]
OLD_LABELS = [*({"car": form} for form in FORMS), json.dumps({"objects": LEGACY})]
COCO = [
    exports.annotation(),
    exports.annotation(exports.rle(SQUARE), iscrowd=1),
    exports.annotation(exports.rle(SQUARE, compressed=False)),
    exports.annotation([], bbox=[2, 3, 4, 5]),
]
REGIONS = [
    exports.region(),
    exports.region(None, kind="brushlabels", format="rle", rle=exports.brush(SQUARE)),
    exports.region(None, kind="rectanglelabels", x=1, y=2, width=30, height=40, rotation=3),
    exports.region(None, kind="ellipselabels", x=40, y=40, radiusX=20, radiusY=10),
    exports.region(None, kind="bitmasklabels", imageDataURL="data:," + exports.in_base64(PNG)),
]
FLAT = {"image": "b.png", "label": [REGIONS[0]["value"] | exports.LS_SIDES], "annotation_id": 3}
CROP = exports.in_base64(exports.png(SQUARE[3:8, 2:9]))
VIA = (
    exports.VIA_POLYGON,
    {"name": "circle", "cx": 6, "cy": 6, "r": 3},
    {"name": "ellipse", "cx": 6, "cy": 6, "rx": 3, "ry": 2, "theta": 0.3},
    {"name": "rect", "x": 2, "y": 3, "width": 4, "height": 5},
)
DOCUMENTS = {
    "coco": exports.coco(*COCO),
    "labelbox": [exports.labelbox_row(LABELBOX, LABELBOX)],
    "labelbox-legacy": [
        exports.legacy_row(*LEGACY),
        *(
            exports.legacy_row(Label=one, **{"External ID": f"{n}.jpg"})
            for n, one in enumerate(OLD_LABELS)
        ),
    ],
    "label-studio": [exports.task(*REGIONS), FLAT],
    "labelme": exports.labelme(
        exports.labelme_shape(),
        exports.labelme_shape(points=[[2, 3], [8, 7]], shape_type="mask", mask=CROP),
        exports.labelme_shape(points=[[6, 6], [6, 9]], shape_type="circle"),
        exports.labelme_shape(points=[[2, 3], [8, 7]], shape_type="rectangle"),
    ),
    "supervisely": exports.supervisely(
        exports.sly_polygon(),
        exports.sly_bitmap(zlib.compress(PNG)),
        exports.sly_polygon([[2, 3], [4, 5]]) | {"geometryType": "rectangle"},
    ),
    "coco-results": [one | {"score": 0.9} for one in COCO[:3]],
    "cityscapes": exports.cityscapes(("car", RING), ("void", RING[:3])),
    "via": {"a.jpg1": exports.via(*VIA)},
    "createml": [exports.createml()],
}
CVAT = exports.cvat(
    exports.cvat_polygon(),
    exports.cvat_mask(SQUARE, 0, 0),
    '<ellipse label="car" cx="6" cy="6" rx="3" ry="2" rotation="4"/>',
    '<box label="car" xtl="1" ytl="2" xbr="5" ybr="6"/>',
)
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
XML = exports.labelme_xml(f"<polygon>{exports.XML_RING}</polygon>", BOX)


def csv_bytes(rows):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows
    )
    return stream.getvalue().encode()


def zip_bytes(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def arrow_bytes(*, parquet):
    buffer = io.BytesIO()
    table = pa.table({"mask": [PNG, PNG], "key": ["a", "b"]})
    if parquet:
        pq.write_table(table, buffer)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


CLASSES = exports.png(np.where(SQUARE[:, :, None], (9, 8, 7), 0).astype(np.uint8))
CVAT_ZIP = {"labelmap.txt": "background:0,0,0::\ncar:9,8,7::\n", "SegmentationClass/a.png": CLASSES}
FILES = {
    **{name: ("a.json", json.dumps(document).encode()) for name, document in DOCUMENTS.items()},
    "labelbox": ("a.ndjson", exports.lines(*DOCUMENTS["labelbox"] * 2).encode()),
    "labelbox-legacy": ("a.csv", csv_bytes(DOCUMENTS["labelbox-legacy"])),
    "cvat": ("a.xml", CVAT.encode()),
    "cvat-masks": ("a.zip", zip_bytes(**CVAT_ZIP)),
    "hf": ("a.parquet", arrow_bytes(parquet=True)),
    "arrow": ("data-00000-of-00001.arrow", arrow_bytes(parquet=False)),
    "png": ("a.png", PNG),
    "labelme-xml": ("a.xml", XML.encode()),
    "yolo": ("a.txt", f"{exports.YOLO}1 0.5 0.5 0.25 0.25\n".encode()),
}
ODD = [
    *(None, True, False, 0, -1, 1, 3, 1e308, -1e308, float("nan"), float("inf"), 10**12, 2**70),
    *("", "x", "NaN", "../../a", "\0", "\ud800", "POLYGON ((", "data:,"),
    *([], {}, [[]], [None], {"": 0}, [float("nan")] * 6, [1, 2, 3], {"x": 1}),
    [[1e9, 1e9], [-1e9, 1e9], [0, 0]],
    {"counts": "o" * 9, "size": [3, 3]},
    {"counts": [-1], "size": [1, 1]},
    [{"x": "a", "y": []}],
    {"url": "file:///etc/passwd"},
]


@pytest.fixture(scope="module")
def masks_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    (folder / "f.png").write_bytes(PNG)
    (folder / "u.png").write_bytes(exports.png(np.repeat(SQUARE[:, :, None], 3, 2)))
    return folder


def survives(path: Path, name: str | None, masks_dir: Path) -> str:
    """Open and load everything; only a refusal of one line may come out."""
    options = {"category": "*", "boxes": "fill", "masks_dir": masks_dir}
    try:
        truth = load_annotations(path, format=name, **options)
        for item in truth:
            loaded = item.load((H, W))
            assert (loaded.mask.dtype, loaded.mask.ndim) == (bool, 2)
            assert loaded.ignore is None or loaded.ignore.shape == loaded.mask.shape
        assert truth.notes() is not None
    except AnnotationRefused as error:
        refusal = error
    else:
        return "read"
    assert refusal.subject
    assert "\n" not in str(refusal)
    return "refused"


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
QUIET = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
}  # fmt: skip


def run_bytes(name, folder, masks_dir, examples):
    file_name, whole = FILES[name]
    path = folder / file_name

    @settings(max_examples=examples, **QUIET)
    @given(flips=FLIPS, cut=st.integers(0, 10**6), is_cut=st.booleans(), sniff=st.booleans())
    def go(flips, cut, is_cut, sniff):
        data = bytearray(whole)
        for place, value in flips:
            data[place % len(data)] = value
        path.write_bytes(bytes(data[: cut % len(data)] if is_cut else data))
        of_folder = path.suffix == ".arrow"  # of `save_to_disk`, which is a folder
        reader = None if sniff else "hf" if of_folder else name
        survives(folder if of_folder else path, reader, masks_dir)

    go()


@pytest.mark.parametrize("name", READERS)
def test_the_untouched_files_are_read(tmp_path, masks_dir, name):
    file_name, whole = FILES[name]
    (tmp_path / file_name).write_bytes(whole)
    options = {} if name == "png" else {"category": "*", "boxes": "fill", "masks_dir": masks_dir}
    truth = load_annotations(tmp_path / file_name, **options)
    assert truth.format == name
    assert all(item.load((H, W)).mask.any() for item in truth)


@pytest.mark.parametrize("name", FILES)
def test_flipped_and_cut_bytes(tmp_path, masks_dir, name):
    run_bytes(name, tmp_path, masks_dir, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_flipped_and_cut_bytes_at_length(tmp_path, masks_dir, name):
    run_bytes(name, tmp_path, masks_dir, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_odd_values_anywhere_at_length(tmp_path, masks_dir, name):
    path = tmp_path / "a.json"
    outcomes = []

    @settings(max_examples=2000, **QUIET)
    @given(edits=EDITS)
    def go(edits):
        path.write_text(json.dumps(mutated(DOCUMENTS[name], edits)), encoding="utf-8")
        outcomes.append(survives(path, name, masks_dir))

    go()
    assert {"read", "refused"} == set(outcomes)
