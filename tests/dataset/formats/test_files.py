import gc
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.dataset.formats.backgrounds import foreground_rgb


def test_every_accepted_sample_has_four_files_of_one_name(discs, tmp_path):
    discs.make_dataset(tmp_path, 10, formats=["png"])
    names = {
        kind: sorted(path.relative_to(tmp_path / kind) for path in (tmp_path / kind).rglob("*.png"))
        for kind in ("images", "masks", "labels", "alpha")
    }
    kept = discs.accepted_discs(10)
    assert [path.stem for path in names["images"]] == [sample.key for sample in kept]
    assert names["images"] == names["masks"] == names["labels"] == names["alpha"]
    for sample, name in zip(kept, names["images"], strict=True):
        assert name.parts[0] == f"{sample.seed // 8:05d}"
        with Image.open(tmp_path / "images" / name) as image:
            np.testing.assert_array_equal(image, sample.image)
        with Image.open(tmp_path / "masks" / name) as mask:
            np.testing.assert_array_equal(np.asarray(mask) == 255, sample.mask)
        with Image.open(tmp_path / "labels" / name) as label:
            assert label.mode == "L"
            np.testing.assert_array_equal(label, sample.mask)
        with Image.open(tmp_path / "alpha" / name) as alpha:
            np.testing.assert_array_equal(alpha, np.rint(sample.alpha * 255))


def test_cutouts_and_composites_lie_beside_the_images(discs, tmp_path):
    def blocks(shard):
        for block in discs.plan_blocks(shard):
            yield [replace(disc, background=255 - disc.image) for disc in block]

    wanted = {"cutouts": True, "composites": "generated", "image_format": "webp"}
    discs.make_dataset(tmp_path, 6, formats=["png"], blocks=blocks, output=wanted)
    found = {path.split("/")[0]: path for path in discs.files_of(tmp_path) if "seed0000002" in path}
    name = "00000/psi1000-seed0000002"
    assert found == {
        **{kind: f"{kind}/{name}.png" for kind in ("masks", "labels", "alpha")},
        **{kind: f"{kind}/{name}.webp" for kind in ("images", "rgba", "composites")},
    }
    disc = discs.make_disc(2)
    with Image.open(tmp_path / found["rgba"]) as rgba:
        colours = foreground_rgb(disc.image, disc.alpha)
        np.testing.assert_array_equal(np.asarray(rgba)[..., :3], colours)
        np.testing.assert_array_equal(np.asarray(rgba)[..., 3], np.rint(disc.alpha * 255))
    with Image.open(tmp_path / found["composites"]) as composite:
        inside, outside = disc.alpha == 1, disc.alpha == 0
        np.testing.assert_array_equal(np.asarray(composite)[inside], disc.image[inside])
        np.testing.assert_array_equal(np.asarray(composite)[outside], 255 - disc.image[outside])
        assert inside.sum() > 5


KEPT = {"keep_rejected": True}


def test_rejected_samples_lie_apart_and_the_rest_is_as_it_was(discs, tmp_path):
    discs.make_dataset(tmp_path / "kept", 15, output=KEPT)
    discs.make_dataset(tmp_path / "plain", 15)
    kept, plain = discs.files_of(tmp_path / "kept"), discs.files_of(tmp_path / "plain")
    apart = {name: data for name, data in kept.items() if name.startswith("rejected/")}
    rows = [json.loads(line) for line in kept["ledger.jsonl"].decode().splitlines()]
    rejected = [row for row in rows if row["status"] == "rejected"]
    assert {name.split("/")[-1] for name in apart} == {f"{row['key']}.png" for row in rejected}
    for row in rejected:
        disc = discs.make_disc(row["seed"])
        assert row["reason"] == disc.reason
        for folder, array in (("images", disc.image), ("masks", disc.mask * np.uint8(255))):
            data = apart[f"rejected/{row['shard']:05d}/{folder}/{row['key']}.png"]
            assert (np.asarray(Image.open(io.BytesIO(data))) == array).all()
    assert len(apart) == 3 * len(rejected)
    shards = json.loads(kept["manifest.json"])["shards"]
    assert shards[0]["files"]["rejected/00000/alpha"]["files"] == 1
    told = {name for name in kept if name.startswith(".l4f/shards/")} | {"manifest.json"}
    assert {n: d for n, d in kept.items() if n not in apart and n not in told} == {
        name: data for name, data in plain.items() if name not in told
    }


def test_a_lost_one_is_made_again_and_overwriting_removes_them(discs, tmp_path):
    discs.make_dataset(tmp_path, 15, output=KEPT)
    before = discs.files_of(tmp_path)
    next((tmp_path / "rejected/00000/masks").iterdir()).unlink()
    notes = discs.make_dataset(tmp_path, 15, output=KEPT)
    assert notes == ["shard 0: 1 files missing or cut short; made again"]
    assert discs.files_of(tmp_path) == before
    discs.make_dataset(tmp_path, 15, overwrite=True)
    assert not (tmp_path / "rejected").exists()


def test_every_listed_file_is_there(discs, tmp_path):
    output = {"image_format": "webp"}
    discs.make_dataset(tmp_path, 9, formats=["imagefolder"], output=output)
    lines = (tmp_path / "imagefolder/train/metadata.jsonl").read_text().splitlines()
    listed = {
        f"imagefolder/train/{json.loads(line)[name]}"
        for line in lines
        for name in ("file_name", "mask_file_name", "label_file_name", "alpha_file_name")
    }
    found = {name for name in discs.files_of(tmp_path) if name.endswith((".png", ".webp"))}
    assert listed == found
    assert len(listed) == 36


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_reader_of_the_format_gives_whole_samples(discs, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="a reader only tests use")
    discs.make_dataset(tmp_path, 12, formats=["webdataset"])
    shards = sorted(str(path) for path in (tmp_path / "webdataset").iterdir())
    assert len(shards) == 2
    read = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    gc.collect()  # it leaves its files open; they are closed while the mark above holds
    kept = discs.accepted_discs(12)
    assert [sample["__key__"] for sample in read] == [disc.key for disc in kept]
    for sample, disc in zip(read, kept, strict=True):
        np.testing.assert_array_equal(pixels(sample["png"]), disc.image)
        np.testing.assert_array_equal(pixels(sample["mask.png"]) == 255, disc.mask)
        np.testing.assert_array_equal(pixels(sample["label.png"]), disc.mask)
        np.testing.assert_array_equal(pixels(sample["alpha.png"]), np.rint(disc.alpha * 255))
        facts = json.loads(sample["json"])
        assert (facts["image_id"], facts["seed"], facts["psi"]) == (disc.image_id, disc.seed, 1.0)
        assert facts["coverage"] == disc.mask.mean()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sixteen_bits_of_alpha_survive_the_reader_of_the_format(discs, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="a reader only tests use")
    discs.make_dataset(tmp_path, 3, formats=["webdataset"], output={"alpha_bits": 16})
    shard = str(tmp_path / "webdataset/train-00000.tar")
    rows = webdataset.WebDataset(shard, shardshuffle=False, empty_check=False).decode("l8")
    for sample, disc in zip(list(rows), discs.accepted_discs(3), strict=True):
        np.testing.assert_array_equal(sample["alpha.png"], np.rint(disc.alpha * 255))
        np.testing.assert_array_equal(sample["label.png"], disc.mask)
        assert sample["alpha16.npy"].dtype == np.uint16
        np.testing.assert_array_equal(sample["alpha16.npy"], np.rint(disc.alpha * 65535))
    gc.collect()


def test_members_carry_no_clock_and_no_user(discs, tmp_path):
    discs.make_dataset(tmp_path, 3, formats=["webdataset"], output={"image_format": "jpeg"})
    with tarfile.open(tmp_path / "webdataset/train-00000.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:5]] == [
        f"psi1000-seed0000000.{ending}"
        for ending in ("jpg", "mask.png", "label.png", "alpha.png", "json")
    ]
    assert len(members) == 15
    for member in members:
        assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
        assert (member.uname, member.gname) == ("", "")
        assert member.mode == 0o644
        assert member.isfile()
