import numpy as np
import pytest
import torch
import torch.nn.functional as F

from l4f_datagen.benchmark import baselines
from l4f_datagen.benchmark.redo import LATENT, REGIONS, Redo, RedoPlan, redo_masks, train_redo

PLAN = RedoPlan(steps=3, batch=4, width=4)


def discs(count=4, side=32):
    """Discs of one colour on noisy ground of another, with their masks."""
    stream = np.random.RandomState(0)
    rows, columns = np.mgrid[:side, :side]
    images, masks = [], []
    for _ in range(count):
        y, x = stream.randint(10, side - 10, 2)
        masks.append((rows - y) ** 2 + (columns - x) ** 2 < 49)
        ground, paint = stream.randint(0, 90, 3), stream.randint(150, 255, 3)
        noise = stream.randint(-8, 9, (side, side, 3))
        images.append((np.where(masks[-1][..., None], paint, ground) + noise).clip(0, 255))
    return np.stack(images).astype(np.uint8), np.stack(masks)


@pytest.mark.parametrize("masks_of", [baselines.otsu_masks, baselines.gmm_masks])
def test_easy_images_are_split_and_a_flat_one_has_no_object(masks_of):
    pytest.importorskip("sklearn")
    images, masks = discs()
    found = masks_of(images)
    assert (found & masks).sum() / (found | masks).sum() > 0.95
    np.testing.assert_array_equal(found, masks_of(images))
    assert not masks_of(np.full((1, 16, 16, 3), 80, np.uint8)).any()


def test_groups_at_the_border_are_background():
    labels = np.zeros((2, 12, 12), int)
    labels[:, 4:8, 4:8] = 1  # never at the border
    labels[:, :, :3] = 2  # a strip along one side
    assert baselines.background_groups(labels, 4).tolist() == [True, False, True, False]


def test_kmeans_finds_separate_directions():
    axes, stream = torch.eye(3), np.random.RandomState(0)
    points = F.normalize(axes.repeat_interleave(50, 0) + 0.05 * torch.randn(150, 3), dim=1)
    centres = baselines.spherical_kmeans(points, 3, stream)
    assert sorted((centres @ axes).argmax(1).tolist()) == [0, 1, 2]
    assert torch.allclose(centres.norm(dim=1), torch.ones(3))
    assert ((points @ centres.T).amax(1) > 0.9).all()


def test_clusters_are_a_function_of_the_seed_at_the_nearest_resolution(make_bench, monkeypatch):
    bench = make_bench()
    block = bench.read_block(bench.eval_draws(1.0))
    masks = [baselines.prepare_editing(bench, seed).label(block) for seed in (3, 3)]
    assert masks[0].shape == block.images.shape[:3]
    assert masks[0].dtype == bool
    np.testing.assert_array_equal(*masks)
    # At 8 px, the larger of 8 and 4, every feature fills 4 x 4 pixels of the image.
    monkeypatch.setattr(baselines, "CLUSTERED_RESOLUTION", 6)
    coarse = baselines.prepare_editing(bench, 3).label(block)
    np.testing.assert_array_equal(coarse, coarse[:, ::4, ::4].repeat(4, 1).repeat(4, 2))
    assert not np.array_equal(coarse, coarse[:, ::8, ::8].repeat(8, 1).repeat(8, 2))


@pytest.mark.parametrize("sign", [1, -1])  # the network may have called the object either region
def test_the_object_is_what_lies_inside(sign):
    net = Redo(PLAN).eval()
    images = np.zeros((3, 32, 32, 3), np.uint8)
    inside = torch.full((32, 32), -1.0)
    inside[8:24, 8:24] = 1.0
    net.masker.forward = lambda x: (sign * inside).expand(len(x), 1, 32, 32)
    regions = redo_masks(net.masker, images).astype(int)
    assert baselines.background_groups(regions, REGIONS)[1] == (sign < 0)
    masks = redo_masks(net.masker, images, inverted=sign < 0)
    np.testing.assert_array_equal(masks, np.repeat((inside > 0).numpy()[None], 3, 0))


def test_only_the_redrawn_region_changes():
    torch.manual_seed(0)
    net = Redo(PLAN).eval()
    left = torch.where(torch.arange(32) < 16, 99.0, -99.0)  # the object is the left half
    net.masker.forward = lambda x: left.expand(len(x), 1, 32, 32)
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        drawn, ground = (net.redraw(image, torch.randn(2, LATENT), region=k) for k in (1, 0))
    assert torch.equal(drawn[..., 16:], image[..., 16:])
    assert not torch.allclose(drawn[..., :16], image[..., :16])
    assert torch.equal(ground[..., :16], image[..., :16])


def test_redo_is_a_function_of_images_and_plan_and_moves_every_network():
    images = np.random.RandomState(5).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    first, again = (train_redo(images, PLAN).state_dict() for _ in range(2))
    other = train_redo(images, RedoPlan(seed=1, steps=3, batch=4, width=4)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["masker.out.weight"], other["masker.out.weight"])
    torch.manual_seed(PLAN.seed)
    before = dict(Redo(PLAN).named_parameters())
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], first[name])}
    assert moved == {"masker", "painters", "discriminator", "recovery"}
