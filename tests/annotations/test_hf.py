import json
import zipfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_exports import PHOTO, SQUARE, png

from l4f_datagen.annotations import load_annotations
from l4f_datagen.core.errors import AnnotationRefused


def picture(data, path=None):
    return {"bytes": data, "path": path}


def dataset(masks, **columns):
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    rows = {
        "image": [picture(mask, f"{n}.png") for n, mask in enumerate(masks)],
        "mask": [picture(mask) for mask in masks],
        **columns,
    }
    for name, values in columns.items():
        features[name] = datasets.Value("string" if isinstance(values[0], str) else "int64")
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


MASKS = [png(np.roll(SQUARE, n, axis=1)) for n in range(5)]


def check(truth, names):
    assert truth.format == "hf"
    assert [item.name for item in truth] == names
    for place, item in enumerate(truth):
        np.testing.assert_array_equal(item.load().mask, np.roll(SQUARE, place, axis=1))


def test_parquet_of_the_datasets_library(tmp_path):
    keys = [f"psi0700-seed{n:07d}" for n in range(5)]
    made = dataset(MASKS, key=keys)
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    made.to_parquet(path, batch_size=2)  # several row groups
    assert pq.ParquetFile(path).metadata.num_row_groups == 3
    check(load_annotations(tmp_path), keys)
    check(load_annotations(path), keys)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.write(path, "data/train.parquet")
    check(load_annotations(tmp_path / "d.zip"), keys)


def test_names_come_from_the_image_path_or_the_row(tmp_path):
    path = tmp_path / "a.parquet"
    plain = [f"{n}.png" for n in range(5)]
    dataset(MASKS).to_parquet(path)
    check(load_annotations(path), plain)
    dataset(MASKS, id=[7, 8, 9, 10, 11]).to_parquet(path)
    check(load_annotations(path), ["7", "8", "9", "10", "11"])
    pq.write_table(pa.table({"label": MASKS}), path)  # a binary column
    check(load_annotations(path), ["1", "2", "3", "4", "5"])
    dataset(MASKS, key=list("abcde")).save_to_disk(tmp_path / "d")
    check(load_annotations(tmp_path / "d"), list("abcde"))
    dataset(MASKS).save_to_disk(tmp_path / "e")
    check(load_annotations(tmp_path / "e"), plain)


ROWS = [{"file_name": f"{n}.png", "mask_file_name": f"masks/{n}.png"} for n in range(5)]
METADATA = {
    "jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "csv": "file_name,mask_file_name\n" + "\n".join(",".join(row.values()) for row in ROWS),
}


@pytest.mark.parametrize("spelling", METADATA)
def test_an_image_folder_with_metadata(saved, spelling):
    images = {f"train/{n}.png": PHOTO for n in range(5)}
    masks = {f"train/masks/{n}.png": data for n, data in enumerate(MASKS)}
    metadata = {f"train/metadata.{spelling}": METADATA[spelling]}
    root = saved(set={**images, **masks, **metadata}) / "set"
    check(load_annotations(root), [f"{n}.png" for n in range(5)])
    (root / "train" / "masks" / "3.png").unlink()
    with pytest.raises(AnnotationRefused, match=r"mask train/masks/3\.png does not exist"):
        load_annotations(root)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"file_name": "a.png", "mask_file_name": "../../x.png"}', "leads out of its folder"),
        ('{"file_name": "a.png", "mask_file_name": null}', "no row with a mask"),
        ('{"mask_file_name": "a.png"}', "image name None"),
        ('{"mask_file_name": "a.png"}\n[1]\n', r"metadata\.jsonl line 2: no record"),
        ('{"mask_file_name": ', "not JSON"),
        ("mask_file_name [1]", "a dataset without rows"),
    ],
)
def test_broken_metadata(saved, line, match):
    root = saved(t={"metadata.jsonl": line, "a.png": b"x"})
    with pytest.raises(AnnotationRefused, match=match):
        load_annotations(root / "t", format="hf")


def test_broken_tables(tmp_path):
    path = tmp_path / "a.parquet"
    dataset(MASKS).to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnnotationRefused, match=r"a\.parquet: broken Parquet"):
        load_annotations(path)
    for columns, said in (
        ({"image": [b"x"], "other": [1]}, "no mask column among image, other"),
        ({"mask": pa.array([], pa.binary())}, "a dataset without rows"),
        ({"mask": pa.array([None], pa.binary())}, "no row with a mask"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(AnnotationRefused, match=said):
            load_annotations(path)
    pq.write_table(pa.table({"mask": [b"no image"]}), path)
    with pytest.raises(AnnotationRefused, match=r"a\.parquet row 1: is not a readable image"):
        load_annotations(path)[0].load()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "data-00000-of-00001.arrow").write_bytes(b"nonsense")
    with pytest.raises(AnnotationRefused, match="broken Arrow"):
        load_annotations(tmp_path / "d")
