"""Exports of annotation tools, as small as they come: an image of 20 x 30 with a square on it."""

import base64
import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco_mask

H, W = 20, 30
RING = [[2, 3], [9, 3], [9, 8], [2, 8]]
FAR_RING = [[x + 15, y] for x, y in RING]
SQUARE = np.zeros((H, W), bool)
SQUARE[3:8, 2:9] = True
RIGHT = np.roll(SQUARE, 15, axis=1)
PHOTO = np.zeros((H, W, 3), np.uint8)
SIDES = {"height": H, "width": W}


def png(array, **more):
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **more)
    return buffer.getvalue()


def in_base64(data):
    return base64.b64encode(data).decode()


def xy(ring):
    return [{"x": x, "y": y} for x, y in ring]


def runs(mask, order):
    """Run lengths, background first: down the columns (F) or along the rows (C)."""
    flat = mask.ravel(order)
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()


def rle(mask, *, compressed=True):
    if not compressed:
        return {"size": list(mask.shape), "counts": runs(mask, "F")}
    made = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": made["size"], "counts": made["counts"].decode()}


def annotation(segmentation=None, **changes):
    outline = [np.ravel(RING).tolist()] if segmentation is None else segmentation
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline, **changes}


def coco(*records, names=("a.jpg",), **changes):
    return {
        "images": [{"id": n, "file_name": name, **SIDES} for n, name in enumerate(names, 1)],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}],
        "annotations": [{**one, "id": n} for n, one in enumerate(records or [annotation()], 1)],
        **changes,
    }


def labelbox_object(ring=RING, **changes):
    return {"feature_id": "f", "name": "car", "polygon": xy(ring), **changes}


def labelbox_label(*objects, details=None, performance=None, **label):
    listed = {"objects": list(objects or [labelbox_object()])}
    extra = {"label_details": details or {}, "performance_details": performance or {}}
    return {"annotations": listed, **extra, **label}


def labelbox_row(*labels, name="a.jpg", **changes):
    row = {
        "data_row": {"id": "d", "external_id": name},
        "media_attributes": dict(SIDES),
        "projects": {"p": {"labels": list(labels)}},
    }
    return {**row, **changes}


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def legacy_object(ring=RING, **changes):
    return {"featureId": "f", "title": "car", "polygon": xy(ring), **changes}


def legacy_row(*objects, **changes):
    row = {"ID": "1", "Labeled Data": "https://h/a.jpg?x=1", "External ID": "a.jpg"}
    return {**row, "Skipped": False, "Label": {"objects": list(objects)}, **changes}


LS_SIDES = {"original_width": W, "original_height": H}
PERCENT = [[x * 100 / W, y * 100 / H] for x, y in RING]


def region(ring=RING, labels=("Car",), kind="polygonlabels", **value):
    percent = [[x * 100 / W, y * 100 / H] for x, y in ring or []]
    points = {"points": percent} if ring else {}
    return {"id": "r", "type": kind, **LS_SIDES, "value": {**points, kind: list(labels), **value}}


def task(*regions, image="/data/upload/3/0a1b2c3d-a.jpg", **annotated):
    return {"data": {"image": image}, "annotations": [{"result": list(regions), **annotated}]}


def pack(words, sizes=(3, 4, 8, 16)):
    """Write rle-pack bytes: runs of equal words, anything else listed (independent encoder)."""
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(words):
        end = place
        while end < len(words) and words[end] == words[place] and end - place < 1 << sizes[3]:
            end += 1
        is_run = end - place >= 2
        if not is_run:
            end = place + 1
            while end < len(words) and words[end] != words[end - 1] and end - place < 1 << sizes[1]:
                end += 1
        length = end - place
        index = next(i for i, size in enumerate(sizes) if length <= 1 << size)
        bits += f"{int(is_run)}{index:02b}{length - 1:0{sizes[index]}b}"
        listed = words[place : place + 1] if is_run else words[place:end]
        bits += "".join(f"{int(word):08b}" for word in listed)
        place = end
    return as_bytes(bits)


def as_bytes(bits):
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def brush(mask):
    canvas = np.zeros((*mask.shape, 4), np.uint8)
    canvas[mask] = (10, 20, 30, 255)
    return pack(canvas.ravel().tolist())


def cvat(*shapes, image=f'name="a.jpg" width="{W}" height="{H}"', more=""):
    held = f'<image id="0" {image}>{"".join(shapes)}</image>{more}'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{held}</annotations>'


def cvat_polygon(ring=RING, label="car", z=0):
    points = ";".join(f"{x},{y}" for x, y in ring)
    return f'<polygon label="{label}" points="{points}" z_order="{z}"/>'


def cvat_mask(mask, left, top):
    held = f'rle="{", ".join(map(str, runs(mask, "C")))}" left="{left}" top="{top}"'
    return f'<mask label="car" {held} width="{mask.shape[1]}" height="{mask.shape[0]}"/>'


def labelme_shape(label="car", points=RING, shape_type="polygon", **more):
    return {"label": label, "points": points, "shape_type": shape_type, **more}


def labelme(*shapes, **changes):
    sides = {"imageHeight": H, "imageWidth": W, "imageData": None}
    return {"imagePath": "a.jpg", **sides, "shapes": list(shapes), **changes}


def supervisely(*objects, **changes):
    return {"size": dict(SIDES), "objects": list(objects), **changes}


def sly_polygon(exterior=RING, interior=(), label="car"):
    points = {"exterior": exterior, "interior": list(interior)}
    return {"classTitle": label, "geometryType": "polygon", "points": points}


def sly_bitmap(data, origin=(0, 0), label="car"):
    bitmap = {"data": in_base64(data), "origin": list(origin)}
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": bitmap}


def via(*shapes, name="a.jpg"):
    regions = [{"shape_attributes": one, "region_attributes": {"label": "car"}} for one in shapes]
    return {"filename": name, "regions": regions}


VIA_POLYGON = {
    "name": "polygon",
    "all_points_x": [x for x, _ in RING],
    "all_points_y": [y for _, y in RING],
}


def cityscapes(*objects):
    listed = [{"label": label, "polygon": ring} for label, ring in objects]
    return {"imgHeight": H, "imgWidth": W, "objects": listed}


def createml(**changes):
    box = {"label": "car", "coordinates": {"x": 5.5, "y": 5.5, "width": 7, "height": 5}}
    return {"image": "a.jpg", "annotations": [box], **changes}


def arrow(*, parquet):
    buffer, table = io.BytesIO(), pa.table({"mask": [png(SQUARE)], "key": ["a"]})
    if parquet:
        pq.write_table(table, buffer)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


YOLO = "0 " + " ".join(f"{x / W:.6f} {y / H:.6f}" for x, y in RING) + "\n"
XML_RING = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in RING)


def labelme_xml(*objects):
    size = f"<imagesize><nrows>{H}</nrows><ncols>{W}</ncols></imagesize>"
    held = "".join(f"<object><name>car</name>{one}</object>" for one in objects)
    return f"<annotation><filename>a.jpg</filename>{held}{size}</annotation>"


def lb(one, **masks):
    """A Labelbox export of one object, with the mask files it points to."""
    return {"t.ndjson": lines(labelbox_row(labelbox_label(one)))}, {"masks": masks} if masks else {}


def lb_mask(field, **changes):
    return labelbox_object(**{"polygon": None, **field, **changes})


def old(*objects, **changes):
    return {"t.json": [legacy_row(*objects, **changes)]}, {}


def ls(*regions, key="annotations", **options):
    made = task(*regions)
    return {"t.json": [{"data": made["data"], key: made["annotations"]}]}, options


def drawn(kind, **value):
    return region(None, kind=f"{kind}labels", **value)


def one(content, name="t.json", **options):
    return {name: content}, options


def grey(on=255, off=0):
    return np.where(SQUARE, on, off).astype(np.uint8)


WHITE, CLEAR = np.full((H, W), 255, np.uint8), np.zeros((H, W), np.uint8)
MASKS = {
    "white on black": grey(),
    "ids": grey(1),
    "white on clear": np.stack([WHITE, WHITE, WHITE, grey()], -1),
    "black and white with alpha": np.stack([grey(), grey(), grey(), WHITE], -1),
    "red on clear": np.stack([grey(), CLEAR, CLEAR, grey()], -1),
}
HALVES = [[2, 3, 5, 3, 5, 8, 2, 8], [5, 3, 9, 3, 9, 8, 5, 8]]
TWO_ROWS = [labelbox_row(labelbox_label(), name=name) for name in "ab"]
CORNER, FAR_CORNER = [2, 3], [9, 8]
SIDES_OF_BOX = {"left": 2, "top": 3, "width": 7, "height": 5}
MASK_URL = "https://api.labelbox.com/api/v1/projects/p1/annotations/f/index/1/mask"
TAIL_URL = "https://storage.labelbox.com/x/tail77.png?token=secret"  # `index/1` names no file
COMPOSITE = {"composite_mask": {"url": "u", "color_rgb": [255] * 3}}
GEOJSON = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]}
FEATURE = {"type": "Feature", "geometry": GEOJSON, "properties": {}}
BELOW = [{"x": x, "y": H - y} for x, y in RING]  # y from the lower edge
WKT = "MULTIPOLYGON (((2 17, 9 17, 9 12, 2 12, 2 17)))"
POLYGON = WKT.replace("MULTIPOLYGON (", "POLYGON ")[:-1]
OLD_FORMS = [{"geometry": BELOW}], [BELOW], WKT, [{"geometry": POLYGON}]
BARE = {"id": "x", "type": "polygon", **LS_SIDES, "value": {"points": PERCENT}}
BRUSH = {"format": "rle", "rle": brush(SQUARE)}
BOX = dict(zip(("x", "y", "width", "height"), (20 / 3, 15, 70 / 3, 25), strict=True))
REGIONS = {
    "polygon": [region()],
    "brush": [drawn("brush", **BRUSH)],
    "bitmask": [drawn("bitmask", imageDataURL=f"data:,{in_base64(png(SQUARE))}")],
    # Labels kept apart are found by the id of their region.
    "labels with points": [
        BARE, {**BARE, "type": "labels", "value": {"labels": ["car"], "points": PERCENT}}],
    "labels apart": [BARE, {**BARE, "type": "labels", "value": {"labels": ["car"]}}],
    "closed vector": [drawn("vector", closed=True, vertices=xy(PERCENT))],
}  # fmt: skip
FLAT = {"image": "/data/local-files/?d=set/a.png", "annotator": 1, "annotation_id": 4}
CROP = {"points": [CORNER, [8, 7]], "shape_type": "mask", "mask": in_base64(png(SQUARE[3:8, 2:9]))}
BARE_LABELME = {"imageHeight": None, "imageWidth": None, "imageData": in_base64(png(SQUARE))}
NESTED = sly_polygon()
NESTED["geometry"] = {"points": NESTED.pop("points")}
SLY_BOX = sly_polygon([CORNER, FAR_CORNER]) | {"geometryType": "rectangle"}
VIA = {"a.jpg1": via(VIA_POLYGON)}
VIA_BOX = {"name": "rect", "x": 2, "y": 3, "width": 7, "height": 5}
VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    'region_attributes\na.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":2,""y"":3,""width"":7,'
    '""height"":5}","{""label"":""car""}"\n'
)
YOLO_IMAGE = {"images/a.png": PHOTO}
CVAT_BOX = '<box label="car" xtl="2" ytl="3" xbr="9" ybr="8"/>'
VOC_BOX = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
POLYGON_XML = f"<polygon>{XML_RING}</polygon>"
DELETED = f"<deleted>1</deleted>{POLYGON_XML}"
COLOURS = np.where(SQUARE[:, :, None], (61, 245, 61), 0).astype(np.uint8)
LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:61,245,61::\n"
WHITE_MAP = "background:0,0,0::\ncar:255,255,255::\n"
CLASSES = {"SegmentationClass/a.png": COLOURS, "SegmentationObject/a.png": COLOURS}
FILL = {"boxes": "fill"}
# Files and options that all mean the square; the name starts with the format.
SPELLINGS = {
    "coco polygon": one(coco()),
    "coco flat polygon": one(coco(annotation(np.ravel(RING).tolist()))),
    "coco two polygons": one(coco(annotation(HALVES))),
    "coco RLE": one(coco(annotation(rle(SQUARE)))),
    "coco plain RLE": one(coco(annotation(rle(SQUARE, compressed=False)))),
    "coco with a polygon of two points": one(coco(annotation(), annotation([[1, 1, 5, 5]]))),
    "coco box": one(coco(annotation([], bbox=[2, 3, 7, 5])), **FILL),
    "coco-results": one([annotation(image_id="a", score=0.9), annotation(image_id="a", score=0.1)]),
    "labelbox one line": lb(labelbox_object()),
    "labelbox NDJSON": one(lines(*TWO_ROWS)),
    "labelbox list": one(TWO_ROWS),
    "labelbox one object": one(json.dumps(labelbox_row(labelbox_label()), indent=2)),
    "labelbox GeoJSON": lb(lb_mask({"geojson": GEOJSON})),
    "labelbox feature": lb(lb_mask({"geojson": FEATURE})),
    "labelbox RLE": lb(lb_mask({"mask": rle(SQUARE)})),
    "labelbox box": (lb(lb_mask({"bounding_box": SIDES_OF_BOX}))[0], FILL),
    "labelbox composite": lb(lb_mask(COMPOSITE), **{"u.png": SQUARE}),
    "labelbox by the tail of a URL": lb(
        lb_mask({"mask": {"url": TAIL_URL}}, feature_id="other"),
        **{"deep/tail77.png": SQUARE, "deep/1.png": ~SQUARE}),
    **{f"labelbox mask, {name}": lb(lb_mask({"mask": {"url": MASK_URL}}), **{"f.png": mask})
       for name, mask in MASKS.items()},
    "labelbox-legacy": old(legacy_object()),
    "labelbox-legacy of three annotators": one([legacy_row(legacy_object())] * 3),
    "labelbox-legacy as text": old(Label=json.dumps({"objects": [legacy_object()]})),
    "labelbox-legacy box": (old(legacy_object(polygon=None, bbox=SIDES_OF_BOX))[0], FILL),
    "labelbox-legacy mask": (
        old(legacy_object(polygon=None, instanceURI="https://h/masks/f?token=x"))[0],
        {"masks": {"f.png": MASKS["white on clear"]}}),
    **{f"labelbox-legacy before 2020, {n}": old(Label={"car": geometry, "sky": "sunny"})
       for n, geometry in enumerate(OLD_FORMS)},
    **{f"label-studio {name}, {key}": ls(*regions, key=key)
       for name, regions in REGIONS.items() for key in ("annotations", "completions")},
    "label-studio box": ls(drawn("rectangle", **BOX), **FILL),
    "label-studio flat": one([{**FLAT, "label": [
        {"points": PERCENT, "polygonlabels": ["car"], **LS_SIDES}]}]),
    "label-studio flat brush": one([{**FLAT, "label": [
        {**BRUSH, "brushlabels": ["car"], **LS_SIDES}]}]),
    "labelme polygon": one(labelme(labelme_shape(), imagePath="..\\images\\a.jpg")),
    "labelme mask": one(labelme(labelme_shape(**CROP))),
    "labelme rectangle": one(labelme(
        labelme_shape(points=[FAR_CORNER, CORNER], shape_type="rectangle")), **FILL),
    "labelme with a line": one(labelme(labelme_shape(), labelme_shape(shape_type="line"))),
    "labelme sized by its picture": one(labelme(labelme_shape(), **BARE_LABELME)),
    "supervisely polygon": (
        {"ds0/ann/a.json": supervisely(sly_polygon()), "meta.json": {"classes": []}}, {}),
    "supervisely nested": one(supervisely(NESTED), "a.json"),
    "supervisely box": one(supervisely(SLY_BOX), "a.json", **FILL),
    "supervisely bitmap": one(supervisely(sly_bitmap(zlib.compress(png(SQUARE)))), "a.json"),
    "supervisely bitmap as PNG": one(supervisely(sly_bitmap(png(SQUARE))), "a.json"),
    "via": one(VIA),
    "via project": one({"_via_settings": {}, "_via_img_metadata": VIA}),
    "via box": one({"a.jpg1": via(VIA_BOX)}, **FILL),
    "via CSV": one(VIA_CSV, "t.csv", **FILL),
    "yolo": ({"labels/a.txt": YOLO, **YOLO_IMAGE, "data.yaml": "names: [car]\n"},
             {"category": "car"}),
    "yolo with byte order marks": (
        {"labels/a.txt": f"\ufeff{YOLO}\r\n", **YOLO_IMAGE, "classes.txt": "\ufeffcar\r\n"},
        {"category": "car"}),
    "yolo alone": one(YOLO, "a.txt"),
    "yolo box": one(f"0 {5.5 / W} {5.5 / H} {7 / W} {5 / H}", "a.txt", **FILL),
    "cityscapes": one(cityscapes(("cargroup", RING), ("out of roi", FAR_RING)), "a.json",
                      category="car"),
    "createml": one([createml()], **FILL),
    "labelme-xml": one(labelme_xml(f"<deleted>0</deleted>{POLYGON_XML}", DELETED), "a.xml"),
    "labelme-xml box": one(labelme_xml(VOC_BOX), "a.xml", **FILL),
    "cvat": one(cvat(cvat_polygon()), "t.xml"),
    "cvat mask": one(cvat(cvat_mask(SQUARE[3:8, 2:9], 2, 3)), "t.xml"),
    "cvat box": one(cvat(CVAT_BOX), "t.xml", **FILL),
    "cvat with images": ({"annotations.xml": cvat(cvat_polygon()), "images/a.jpg": PHOTO}, {}),
    "cvat-masks": ({"labelmap.txt": LABEL_MAP, **CLASSES}, {}),
    "cvat-masks in grey": ({"labelmap.txt": WHITE_MAP, "SegmentationClass/a.png": SQUARE}, {}),
    "png": one(png(SQUARE), "a.png"),
    "hf": one(arrow(parquet=True), "a.parquet"),
    "hf of Arrow": ({"data-00000-of-00001.arrow": arrow(parquet=False), "state.json": {}}, {}),
}  # fmt: skip
