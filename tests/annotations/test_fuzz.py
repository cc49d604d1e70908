"""Whatever bytes come, a reader either reads them or refuses them with one line of its own."""

import base64
import copy
import csv
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from l4f_datagen.annotations import READERS, load_annotations
from l4f_datagen.core.errors import AnnotationRefused

SIZE = (12, 16)
MASK = np.zeros(SIZE, bool)
MASK[3:9, 2:11] = True
RING = [[2, 3], [11, 3], [11, 9], [2, 9]]


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png(MASK.astype(np.uint8) * 255)
XY = [{"x": x, "y": y} for x, y in RING]


def coco():
    rle = coco_mask.encode(np.asfortranarray(MASK.astype(np.uint8)))
    records = [
        [[number for point in RING for number in point]],
        {"size": rle["size"], "counts": rle["counts"].decode()},
        {"size": list(SIZE), "counts": [27, 6, 6, 6, 147]},
    ]
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "iscrowd": n % 2, "segmentation": one}
            for n, one in enumerate(records, 1)
        ]
        + [{"id": 9, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5]}],
    }


def labelbox():
    objects = [
        {"feature_id": "f", "name": "car", "polygon": XY},
        {"feature_id": "f", "name": "car", "mask": {"url": "https://h/f"}},
        {"feature_id": "f", "name": "car", "composite_mask": {"url": "u", "color_rgb": [255] * 3}},
        {
            "feature_id": "f",
            "name": "car",
            "bounding_box": {"top": 1, "left": 2, "height": 3, "width": 4},
        },
    ]
    return [
        {
            "data_row": {"id": "d", "external_id": "a.jpg"},
            "media_attributes": {"width": SIZE[1], "height": SIZE[0]},
            "projects": {"p": {"labels": [{"annotations": {"objects": objects}}] * 2}},
        }
    ]


def labelbox_legacy():
    objects = [
        {"featureId": "f", "title": "car", "polygon": XY},
        {"featureId": "f", "title": "car", "instanceURI": "https://h/f"},
        {"featureId": "f", "title": "car", "bbox": {"top": 1, "left": 2, "height": 3, "width": 4}},
    ]
    base = {"ID": "1", "Labeled Data": "https://h/a.jpg", "External ID": "a.jpg", "Skipped": False}
    wkt = "MULTIPOLYGON (((2 3, 11 3, 11 9, 2 9, 2 3), (4 4, 5 4, 5 5)))"
    return [
        {**base, "Label": {"objects": objects}},
        {**base, "Label": {"car": wkt}, "External ID": "b.jpg"},
        {**base, "Label": {"car": [{"geometry": XY}]}, "External ID": "c.jpg"},
        {**base, "Label": json.dumps({"objects": objects}), "External ID": "d.jpg"},
    ]


def label_studio():
    sides = {"original_width": SIZE[1], "original_height": SIZE[0]}
    values = [
        {"points": [[20, 20], [60, 20], [60, 60]], "polygonlabels": ["car"]},
        {"format": "rle", "rle": brush(), "brushlabels": ["car"]},
        {"x": 1, "y": 2, "width": 30, "height": 40, "rotation": 3, "rectanglelabels": ["car"]},
        {"x": 40, "y": 40, "radiusX": 20, "radiusY": 10, "ellipselabels": ["car"]},
        {
            "imageDataURL": "data:image/png;base64," + base64.b64encode(PNG).decode(),
            "bitmasklabels": ["car"],
        },
    ]
    result = [
        {"id": str(n), "type": list(value)[-1], **sides, "value": value}
        for n, value in enumerate(values)
    ]
    flat = {"image": "b.png", "label": [{**values[0], **sides}], "annotation_id": 3}
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": result}] * 2}
    return [task, flat]


def brush():
    words = SIZE[0] * SIZE[1] * 4
    bits = f"{words:032b}{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "1" + "11" + f"{words - 1:016b}" + "1" * 8
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def labelme():
    encoded = base64.b64encode(png(MASK[3:9, 2:11].astype(np.uint8) * 255)).decode()
    shapes = [
        {"label": "car", "points": RING, "shape_type": "polygon"},
        {"label": "car", "points": [[2, 3], [10, 8]], "shape_type": "mask", "mask": encoded},
        {"label": "car", "points": [[6, 6], [6, 9]], "shape_type": "circle"},
        {"label": "car", "points": [[2, 3], [10, 8]], "shape_type": "rectangle"},
    ]
    return {
        "shapes": shapes,
        "imagePath": "a.jpg",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        "imageData": None,
    }


def supervisely():
    packed = base64.b64encode(zlib.compress(PNG)).decode()
    objects = [
        {"classTitle": "car", "geometryType": "polygon", "points": {"exterior": RING}},
        {
            "classTitle": "car",
            "geometryType": "bitmap",
            "bitmap": {"data": packed, "origin": [0, 0]},
        },
        {
            "classTitle": "car",
            "geometryType": "rectangle",
            "points": {"exterior": [[2, 3], [4, 5]], "interior": []},
        },
    ]
    return {"size": {"height": SIZE[0], "width": SIZE[1]}, "objects": objects}


def results():
    return [
        {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": one["segmentation"]}
        for one in coco()["annotations"][:3]
    ]


def cityscapes():
    objects = [{"label": "car", "polygon": RING}, {"label": "void", "polygon": RING[:3]}]
    return {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}


def via():
    shapes = [
        {"name": "polygon", "all_points_x": [2, 11, 11, 2], "all_points_y": [3, 3, 9, 9]},
        {"name": "circle", "cx": 6, "cy": 6, "r": 3},
        {"name": "ellipse", "cx": 6, "cy": 6, "rx": 3, "ry": 2, "theta": 0.3},
        {"name": "rect", "x": 2, "y": 3, "width": 4, "height": 5},
    ]
    regions = [{"shape_attributes": one, "region_attributes": {"label": "car"}} for one in shapes]
    return {"a.jpg1": {"filename": "a.jpg", "regions": regions}}


def createml():
    box = {"label": "car", "coordinates": {"x": 6, "y": 6, "width": 4, "height": 4}}
    return [{"image": "a.jpg", "annotations": [box, box]}]


LABELME_XML = (
    b"<annotation><filename>a.jpg</filename><object><name>car</name><polygon><pt><x>2</x><y>3</y>"
    b"</pt><pt><x>11</x><y>3</y></pt><pt><x>11</x><y>9</y></pt></polygon></object><object>"
    b"<name>car</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
    b"</object><imagesize><nrows>12</nrows><ncols>16</ncols></imagesize></annotation>"
)
YOLO = b"0 0.125 0.25 0.7 0.25 0.7 0.75\n1 0.5 0.5 0.25 0.25\n"


def cvat_xml():
    return (
        '<?xml version="1.0" encoding="utf-8"?><annotations>'
        f'<image id="0" name="a.jpg" width="{SIZE[1]}" height="{SIZE[0]}">'
        '<polygon label="car" points="2,3;11,3;11,9;2,9"/>'
        '<mask label="car" rle="3, 4, 5" left="1" top="2" width="4" height="3"/>'
        '<ellipse label="car" cx="6" cy="6" rx="3" ry="2" rotation="4"/>'
        '<box label="car" xtl="1" ytl="2" xbr="5" ybr="6"/></image></annotations>'
    ).encode()


def cvat_zip():
    buffer = io.BytesIO()
    planes = np.zeros((*SIZE, 3), np.uint8)
    planes[MASK] = (9, 8, 7)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", "background:0,0,0::\ncar:9,8,7::\n")
        archive.writestr("SegmentationClass/a.png", png(planes))
    return buffer.getvalue()


def csv_bytes():
    rows = [
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
        for row in labelbox_legacy()
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def parquet_bytes():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"mask": [PNG, PNG], "key": ["a", "b"]}), buffer)
    return buffer.getvalue()


def arrow_bytes():
    buffer = io.BytesIO()
    table = pa.table({"mask": [PNG, PNG], "key": ["a", "b"]})
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


DOCUMENTS = {
    "coco": coco(),
    "labelbox": labelbox(),
    "labelbox-legacy": labelbox_legacy(),
    "label-studio": label_studio(),
    "labelme": labelme(),
    "supervisely": supervisely(),
    "coco-results": results(),
    "cityscapes": cityscapes(),
    "via": via(),
    "createml": createml(),
}
FILES = {
    "coco": ("a.json", json.dumps(coco()).encode()),
    "labelbox": ("a.ndjson", "\n".join(json.dumps(row) for row in labelbox() * 2).encode()),
    "labelbox-legacy": ("a.csv", csv_bytes()),
    "label-studio": ("a.json", json.dumps(label_studio()).encode()),
    "labelme": ("a.json", json.dumps(labelme()).encode()),
    "supervisely": ("a.json", json.dumps(supervisely()).encode()),
    "cvat": ("a.xml", cvat_xml()),
    "cvat-masks": ("a.zip", cvat_zip()),
    "hf": ("a.parquet", parquet_bytes()),
    "png": ("a.png", PNG),
    "coco-results": ("a.json", json.dumps(results()).encode()),
    "cityscapes": ("a.json", json.dumps(cityscapes()).encode()),
    "via": ("a.json", json.dumps(via()).encode()),
    "createml": ("a.json", json.dumps(createml()).encode()),
    "labelme-xml": ("a.xml", LABELME_XML),
    "yolo": ("a.txt", YOLO),
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
    (folder / "u.png").write_bytes(png(np.repeat(MASK[:, :, None], 3, 2).astype(np.uint8) * 255))
    return folder


def survives(path: Path, name: str | None, masks_dir: Path) -> str:
    """Open and load everything; only a refusal of one line may come out."""
    try:
        truth = load_annotations(
            path,
            format=name,
            masks_dir=masks_dir,
            category="*",
            boxes="fill",
            annotators="majority",
        )
        for item in truth:
            loaded = item.load(SIZE)
            assert loaded.mask.dtype == bool
            assert loaded.mask.ndim == 2
            assert loaded.ignore is None or loaded.ignore.shape == loaded.mask.shape
        assert truth.notes() is not None
    except AnnotationRefused as error:
        refusal = error
    else:
        return "read"
    assert "\n" not in str(refusal)
    assert refusal.subject
    return "refused"


def places(node, path=()):
    """Paths of every value inside a JSON document."""
    found = [path]
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in children:
        found.extend(places(child, (*path, key)))
    return found


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


EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.sampled_from(ODD), st.sampled_from(["set", "drop", "double"])
    ),
    min_size=1,
    max_size=4,
)
FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
CUT = st.integers(0, 10**6)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


def run_documents(name, folder, masks_dir, examples):
    path = folder / "a.json"
    outcomes = {"read": 0, "refused": 0}

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(edits=EDITS)
    def go(edits):
        path.write_text(json.dumps(mutated(DOCUMENTS[name], edits)), encoding="utf-8")
        outcomes[survives(path, name, masks_dir)] += 1

    go()
    assert outcomes["refused"] > 0
    assert outcomes["read"] > 0


def run_bytes(name, folder, masks_dir, examples):
    file_name, whole = FILES[name]
    path = folder / file_name

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(flips=FLIPS, cut=CUT, is_cut=st.booleans(), sniff=st.booleans())
    def go(flips, cut, is_cut, sniff):
        data = bytearray(whole)
        for place, value in flips:
            data[place % len(data)] = value
        if is_cut:
            data = data[: cut % len(data)]
        path.write_bytes(bytes(data))
        survives(path, None if sniff else name, masks_dir)

    go()


@pytest.mark.parametrize("name", READERS)
def test_the_untouched_files_are_read(tmp_path, masks_dir, name):
    file_name, whole = FILES[name]
    (tmp_path / file_name).write_bytes(whole)
    truth = (
        load_annotations(tmp_path / file_name, masks_dir=masks_dir, category="*", boxes="fill")
        if name != "png"
        else load_annotations(tmp_path / file_name)
    )
    assert truth.format == name
    assert all(item.load(SIZE).mask.any() for item in truth)


@pytest.mark.parametrize("name", FILES)
def test_flipped_and_cut_bytes(tmp_path, masks_dir, name):
    run_bytes(name, tmp_path, masks_dir, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_odd_values_anywhere_at_length(tmp_path, masks_dir, name):
    run_documents(name, tmp_path, masks_dir, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_flipped_and_cut_bytes_at_length(tmp_path, masks_dir, name):
    run_bytes(name, tmp_path, masks_dir, 2000)


def run_arrow(folder, masks_dir, examples):
    whole = arrow_bytes()
    path = folder / "data-00000-of-00001.arrow"

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(flips=FLIPS, cut=CUT, is_cut=st.booleans())
    def go(flips, cut, is_cut):
        data = bytearray(whole)
        for place, value in flips:
            data[place % len(data)] = value
        path.write_bytes(bytes(data[: cut % len(data)] if is_cut else data))
        survives(folder, "hf", masks_dir)

    go()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_flipped_arrow_at_length(tmp_path, masks_dir):
    run_arrow(tmp_path, masks_dir, 2000)
