"""Edges: a blurred or shifted alpha of a disc comes back to the disc that the image shows."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from l4f_datagen.cli import cli
from l4f_datagen.rendering import colour_model
from l4f_datagen.rendering.colour_model import box
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.refine import guided, matting, refine_alpha
from l4f_datagen.rendering.render import Renderer


def make_disc(side=96, radius=28):
    """Image uint8 of a red disc on green with noise, and the disc itself."""
    rows, columns = np.mgrid[:side, :side] - side / 2 + 0.5
    disc = np.hypot(rows, columns) < radius
    image = np.where(disc[..., None], [200, 60, 40], [40, 150, 60])
    image = image + np.random.RandomState(0).randint(-12, 13, image.shape)
    return image.clip(0, 255).astype(np.uint8), disc


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.timeout(900)  # pymatting compiles itself where it is first imported
@pytest.mark.parametrize("method", ["guided", "matting"])
def test_a_plump_mask_shrinks_to_the_disc(method):
    image, disc = make_disc()
    plump = ndimage.binary_dilation(disc, iterations=1)
    refined = refine_alpha(image, plump.astype(np.float32), method)
    assert refined.dtype == np.float32
    assert 0 <= refined.min() < refined.max() <= 1
    assert iou(refined > 0.5, disc) > max(0.97, iou(plump, disc) + 0.02)


@pytest.mark.parametrize("method", ["guided", "matting"])
@pytest.mark.parametrize("levels", [(0, 0), (1, 1), (0.6, 0.4)])
def test_without_certain_object_and_background_alpha_stays(method, levels):
    image, disc = make_disc(48)
    alpha = np.where(disc, *levels).astype(np.float32)
    assert matting(image, alpha) is None
    np.testing.assert_array_equal(refine_alpha(image, alpha, method), alpha)


def test_guided_is_the_same_for_any_number_of_threads_and_nearly_for_any_batch():
    images = torch.rand(3, 3, 65, 40, generator=torch.Generator().manual_seed(1))
    alphas = torch.rand(3, 1, 65, 40, generator=torch.Generator().manual_seed(2))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found.append(guided(images, alphas)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    alone = torch.cat([guided(images[k : k + 1], alphas[k : k + 1])[0] for k in range(3)])
    torch.testing.assert_close(alone, found[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("radius", "size"), [(1, (5, 7)), (3, (9, 4)), (20, (6, 8))])
def test_a_box_is_the_mean_of_its_window(radius, size):
    maps = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    found = box(maps, radius)
    for y in range(size[0]):
        for x in range(size[1]):
            rows = slice(max(0, y - radius), y + radius + 1)
            columns = slice(max(0, x - radius), x + radius + 1)
            wanted = maps[:, :, rows, columns].mean(dim=(2, 3))
            torch.testing.assert_close(found[:, :, y, x], wanted)


def test_colours_bring_back_what_the_matte_misses():
    """A soft blob over a disc with a thin tail: the tail has the disc's colour."""
    image, disc = make_disc(64, 12)
    true = disc.copy()
    true[30:34, 42:54] = True
    image[true] = image[32, 32]
    blob = ndimage.gaussian_filter(disc.astype(np.float32), 3)
    refined = refine_alpha(image, blob / blob.max(), "guided")
    assert iou(blob / blob.max() > 0.5, true) < 0.9
    assert iou(refined > 0.5, true) > 0.97


def test_ground_in_the_shadow_of_the_object_is_left_out(monkeypatch):
    image, disc = make_disc(64, 14)
    shadow = np.roll(disc, 4, axis=1) & ~disc
    image[shadow] = image[shadow] * 0.6
    alpha = ndimage.gaussian_filter((disc | shadow).astype(np.float32), 1.5)
    refined = refine_alpha(image, alpha / alpha.max(), "guided") > 0.5
    monkeypatch.setattr(colour_model, "SHADED_SHARE", 0.0)
    without = refine_alpha(image, alpha / alpha.max(), "guided") > 0.5
    assert iou(refined, disc) > iou(without, disc) + 0.02


@pytest.mark.parametrize(
    ("method", "side", "radius", "wider", "least"),
    [("guided", 600, 170, 5, 0.985), ("matting", 128, 40, 1, 0.95)],
)
def test_a_large_image_is_refined_at_a_smaller_size(
    monkeypatch, method, side, radius, wider, least
):
    monkeypatch.setattr("l4f_datagen.rendering.refine.MAX_MATTING_PX", 64)
    image, disc = make_disc(side, radius)
    plump = ndimage.binary_dilation(disc, iterations=wider).astype(np.float32)
    assert iou(refine_alpha(image, plump, method) > 0.5, disc) > least


@pytest.mark.parametrize("method", ["guided", "matting"])
def test_the_renderer_refines_before_the_mask_is_cut(
    make_generator, make_alpha, monkeypatch, method
):
    generator = make_generator()
    plain = Renderer(generator, make_alpha(generator), mask_threshold=0.5)
    draws = [Draw(1, 1.0, 3), Draw(2, 0.5, 4)]
    monkeypatch.setattr("l4f_datagen.rendering.refine.CERTAIN", 0.5)  # of a random network
    for one, other in zip(
        plain.render(draws), replace(plain, refine=method).render(draws), strict=True
    ):
        np.testing.assert_array_equal(one.image, other.image)
        wanted = refine_alpha(one.image, one.alpha, method)
        np.testing.assert_allclose(other.alpha, wanted, atol=1e-4)
        assert other.scores["refine_iou"] == pytest.approx(iou(one.mask, other.mask), abs=1e-6)
        assert "refined" in other.scores
        np.testing.assert_array_equal(other.mask, other.alpha > 0.5)


@pytest.fixture
def folders(tmp_path):
    image, disc = make_disc()
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(image).save(tmp_path / "images/a.jpg", quality=98, subsampling=0)
    mask = ndimage.binary_dilation(disc)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks/a.png")
    return tmp_path, disc


def refined(folder, *flags):
    paths = (f"--{name}={folder / name}" for name in ("images", "masks", "out"))
    return CliRunner().invoke(cli, ["refine", *paths, "--method=guided", *flags])


def test_the_command_writes_soft_alphas_and_masks_into_the_same_folders(folders):
    folder, disc = folders
    for name in ("images/a.jpg", "masks/a.png"):
        (folder / name).parent.joinpath("00000").mkdir()
        (folder / name).rename(folder / name.replace("/", "/00000/"))
    run = refined(folder, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout) == {"out": str(folder / "out"), "masks": 1, "unchanged": 0}
    files = (folder / f"out/{kind}/00000/a.png" for kind in ("masks", "alpha"))
    with Image.open(next(files)) as mask, Image.open(next(files)) as a:
        assert (mask.mode, a.mode) == ("L", "L")
        assert iou(np.asarray(mask) == 255, disc) > 0.97
        assert len(np.unique(a)) > 10


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (lambda mask: Image.new("L", (10, 12)).save(mask), 4,
         "a.png: is 10 x 12 px, its image 96 x 96; give masks of the size of their"),
        (lambda mask: mask.rename(mask.with_name("b.png")), 2,
         "masks: 1 masks have no image of the same name, such as b"),
        (lambda mask: shutil.copy(mask, mask.parents[1] / "images"), 2,
         "images: has two files of one name, a.jpg and a.png"),
        (lambda mask: mask.write_text("no image"), 4, "masks/a.png: is not a readable image"),
        (Path.unlink, 2, "masks: contains no image"),
    ],
    ids=["size", "name", "twice", "text", "none"],
)  # fmt: skip
def test_what_cannot_be_refined_is_one_line(folders, spoil, code, told):
    folder, _ = folders
    spoil(folder / "masks/a.png")
    run = refined(folder)
    assert run.exit_code == code
    assert told in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (folder / "out").exists()
