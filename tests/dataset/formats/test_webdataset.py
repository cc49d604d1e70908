import gc
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image


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


def test_a_split_is_a_tar_of_its_own(discs, tmp_path):
    discs.make_dataset(tmp_path, 9, formats=["webdataset"], blocks=discs.split_blocks)
    for split, in_val in (("train", False), ("val", True)):
        keys = []
        for path in sorted((tmp_path / "webdataset").glob(f"{split}-*.tar")):
            with tarfile.open(path) as tar:
                keys += [name.split(".")[0] for name in tar.getnames() if name.endswith(".json")]
        wanted = [disc.key for disc in discs.accepted_discs(9) if (disc.seed % 3 == 0) == in_val]
        assert keys == wanted
