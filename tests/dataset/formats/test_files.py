"""All formats together; loose files and tars: accepted samples whole, rejected ones apart."""

import gc
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.sample import FORMATS
from l4f_datagen.dataset import layout
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.formats.backgrounds import backgrounds_of, foreground_rgb
from l4f_datagen.dataset.formats.encoding import IMAGE_ENCODERS, SUFFIXES
from l4f_datagen.recipe import OutputPart


def pixels(file):
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        return np.asarray(image)


def levels(disc):
    """What the four files of a disc show."""
    hard = np.uint8(disc.mask)
    return {
        "image": disc.image,
        "mask": 255 * hard,
        "label": hard,
        "alpha": np.uint8(np.rint(disc.alpha * 255)),
    }


def test_every_accepted_sample_has_four_files_of_one_name(discs, tmp_path):
    discs.make_dataset(tmp_path, 10, formats=["png"])
    kept = discs.accepted_discs(10)
    for kind in ("image", "mask", "label", "alpha"):
        folder = tmp_path / ("alpha" if kind == "alpha" else f"{kind}s")
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
        assert found == {f"{disc.seed // 8:05d}/{disc.key}.png" for disc in kept}
        for disc in kept:
            file = folder / f"{disc.seed // 8:05d}/{disc.key}.png"
            np.testing.assert_array_equal(pixels(file), levels(disc)[kind], strict=True)


@pytest.mark.parametrize("theirs", [False, True])
def test_cutouts_and_composites_lie_beside_the_images(discs, tmp_path, theirs):
    def blocks(shard):
        for block in discs.plan_blocks(shard):
            yield [replace(disc, background=255 - disc.image) for disc in block]

    pictures, folder, disc = tmp_path / "pictures", tmp_path / "out", discs.make_disc(2)
    ground = np.full((16, 16, 3), (0, 0, 200), np.uint8) if theirs else 255 - disc.image
    pictures.mkdir()
    Image.fromarray(ground).save(pictures / "a.png")
    how = {"composites": "generated"}
    if theirs:
        how = {"composites": "folder", "composites_folder": str(pictures)}
    wanted = {"cutouts": True, "image_format": "webp", **how}
    backgrounds = backgrounds_of(OutputPart(**wanted))
    what = {"formats": ["png"], "blocks": blocks, "backgrounds": backgrounds}
    discs.make_dataset(folder, 6, output=wanted, **what)
    found = {path for path in discs.files_of(folder) if "seed0000002" in path}
    name = "00000/psi1000-seed0000002"
    assert found == {
        *(f"{kind}/{name}.png" for kind in ("masks", "labels", "alpha")),
        *(f"{kind}/{name}.webp" for kind in ("images", "rgba", "composites")),
    }
    rgba = pixels(folder / f"rgba/{name}.webp")
    np.testing.assert_array_equal(rgba[..., :3], foreground_rgb(disc.image, disc.alpha))
    np.testing.assert_array_equal(rgba[..., 3], levels(disc)["alpha"])
    composite = pixels(folder / f"composites/{name}.webp")
    inside, outside = disc.alpha == 1, disc.alpha == 0
    np.testing.assert_array_equal(composite[inside], disc.image[inside])
    np.testing.assert_array_equal(composite[outside], ground[outside])
    assert inside.sum() > 5


def test_rejected_samples_lie_apart_and_the_rest_is_as_it_was(discs, tmp_path):
    discs.make_dataset(tmp_path / "kept", 15, output={"keep_rejected": True})
    discs.make_dataset(tmp_path / "plain", 15)
    kept, plain = discs.files_of(tmp_path / "kept"), discs.files_of(tmp_path / "plain")
    rows = map(json.loads, kept["ledger.jsonl"].splitlines())
    rejected = [row for row in rows if row["status"] == "rejected"]
    shards = json.loads(kept["manifest.json"])["shards"]
    assert shards[0]["files"]["rejected/00000/alpha"]["files"] == 1
    told = [name for name in kept if name.startswith(".l4f/shards/") or name == "manifest.json"]
    for name in told:
        del kept[name], plain[name]
    for row in rejected:
        disc = discs.make_disc(row["seed"])
        assert row["reason"] == disc.reason
        for folder, kind in (("images", "image"), ("masks", "mask"), ("alpha", "alpha")):
            data = kept.pop(f"rejected/{row['shard']:05d}/{folder}/{row['key']}.png")
            assert (pixels(data) == levels(disc)[kind]).all()
    assert kept == plain
    assert rejected


def test_every_file_that_imagefolder_lists_is_there(discs, tmp_path):
    discs.make_dataset(tmp_path, 9, formats=["imagefolder"], output={"image_format": "webp"})
    folder = tmp_path / "imagefolder/train"
    rows = map(json.loads, (folder / "metadata.jsonl").read_text().splitlines())
    listed = {value for row in rows for name, value in row.items() if name.endswith("file_name")}
    found = [path.relative_to(folder).as_posix() for path in folder.glob("*/*")]
    assert listed == set(found)
    assert len(listed) == 36


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("bits", [8, 16])
def test_the_reader_of_webdataset_gives_whole_samples(discs, tmp_path, bits):
    webdataset = pytest.importorskip("webdataset", reason="a reader only tests use")
    discs.make_dataset(tmp_path, 12, formats=["webdataset"], output={"alpha_bits": bits})
    shards = sorted(str(path) for path in (tmp_path / "webdataset").iterdir())
    assert len(shards) == 2
    opened = [webdataset.WebDataset(shards, shardshuffle=False, empty_check=False) for _ in "12"]
    whole, decoded = list(opened[0]), list(opened[1].decode("l8"))
    kept = discs.accepted_discs(12)
    for sample, array, disc in zip(whole, decoded, kept, strict=True):
        assert sample["__key__"] == disc.key
        for kind, wanted in levels(disc).items():
            name = "png" if kind == "image" else f"{kind}.png"
            np.testing.assert_array_equal(pixels(sample[name]), wanted)
            assert kind == "image" or (array[name] == wanted).all()
        if bits == 16:
            deep = np.uint16(np.rint(disc.alpha * 65535))
            np.testing.assert_array_equal(array["alpha16.npy"], deep, strict=True)
        facts = {"image_id": disc.image_id, "seed": disc.seed, "coverage": disc.mask.mean()}
        assert json.loads(sample["json"]).items() >= facts.items()
    gc.collect()  # it leaves its files open; they are closed while the marks above hold


def test_members_carry_no_clock_and_no_user(discs, tmp_path):
    discs.make_dataset(tmp_path, 3, formats=["webdataset"], output={"image_format": "jpeg"})
    with tarfile.open(tmp_path / "webdataset/train-00000.tar") as tar:
        members = tar.getmembers()
    endings = ("jpg", "mask.png", "label.png", "alpha.png", "json")
    assert [one.name for one in members[:5]] == [f"psi1000-seed0000000.{e}" for e in endings]
    assert len(members) == 15
    for one in members:
        assert (one.mtime, one.uid, one.gid, one.uname, one.gname) == (0, 0, 0, "", "")
        assert (one.mode, one.isfile()) == (0o644, True)


def test_the_tables_agree_and_no_two_formats_share_a_place_or_an_index():
    assert list(WRITERS) == list(FORMATS)
    assert set(IMAGE_ENCODERS) == set(SUFFIXES)
    places = [place for writer in WRITERS.values() for place in (*writer.places, *writer.flat)]
    indexes = [name for writer in WRITERS.values() for name in writer.indexes]
    assert len(set(places)) == len(places) > 10
    assert len(set(indexes)) == len(indexes) >= 3


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "coco"])
def test_each_format_alone_lists_and_removes_its_own_files(discs, tmp_path, name):
    discs.make_dataset(tmp_path, 5, formats=[name], output={"keep_rejected": True})
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    listed = {file for shard in manifest["shards"] for file in shard["files"]}
    assert {f"rejected/00000/{kind}" for kind in ("images", "masks", "alpha")} < listed
    assert all((tmp_path / file).exists() for file in [*listed, *manifest["indexes"]])
    layout.clear(tmp_path)
    assert set(discs.files_of(tmp_path)) == {".l4f/run.json", ".l4f/lock"}


def test_an_index_of_a_split_exists_where_the_split_does_and_lost_files_come_back(discs, tmp_path):
    what = {"formats": FORMATS, "blocks": discs.split_blocks, "output": {"keep_rejected": True}}
    discs.make_dataset(tmp_path, 9, **what)
    before = discs.files_of(tmp_path)
    for split in ("train", "val"):
        assert {
            *(f"annotations/instances_{split}.json", f"imagefolder/{split}/metadata.jsonl"),
            *(f"data/{split}-00000.parquet", f"webdataset/{split}-00000.tar"),
        } < set(before)
        assert any(name.startswith(f"yolo/images/{split}/psi") for name in before)
    assert not [name for name in before if "test" in name]
    (tmp_path / "webdataset/val-00000.tar").unlink()
    next((tmp_path / "rejected/00000/masks").iterdir()).unlink()
    max((tmp_path / "yolo/labels/train").iterdir()).write_bytes(b"")
    problem = "files missing or cut short; made again"
    notes = [f"shard 0: 2 {problem}", f"shard 1: 1 {problem}"]
    assert discs.make_dataset(tmp_path, 9, **what) == notes
    assert discs.files_of(tmp_path) == before
