from dataclasses import replace

import numpy as np
from PIL import Image


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
        np.testing.assert_array_equal(np.asarray(rgba)[..., :3], disc.image)
        np.testing.assert_array_equal(np.asarray(rgba)[..., 3], np.rint(disc.alpha * 255))
    with Image.open(tmp_path / found["composites"]) as composite:
        inside, outside = disc.alpha == 1, disc.alpha == 0
        np.testing.assert_array_equal(np.asarray(composite)[inside], disc.image[inside])
        np.testing.assert_array_equal(np.asarray(composite)[outside], 255 - disc.image[outside])
        assert inside.sum() > 5


def test_sixteen_bit_alpha_on_request(discs, tmp_path):
    discs.make_dataset(tmp_path, 3, formats=["png"], output={"alpha_bits": 16})
    with Image.open(tmp_path / "alpha/00000/psi1000-seed0000000.png") as alpha:
        assert alpha.mode == "I;16"
