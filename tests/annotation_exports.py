"""Exports of annotation tools, as small as they come: an image of 20 x 30 with a square on it."""

import base64
import io
import json

import numpy as np
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


YOLO = "0 " + " ".join(f"{x / W:.6f} {y / H:.6f}" for x, y in RING) + "\n"
XML_RING = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in RING)


def labelme_xml(*objects):
    size = f"<imagesize><nrows>{H}</nrows><ncols>{W}</ncols></imagesize>"
    held = "".join(f"<object><name>car</name>{one}</object>" for one in objects)
    return f"<annotation><filename>a.jpg</filename>{held}{size}</annotation>"
