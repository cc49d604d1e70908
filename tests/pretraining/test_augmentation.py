import pytest
import torch

from l4f_datagen.pretraining import augmentation
from l4f_datagen.pretraining.augmentation import AdaptiveP, Transforms, augment


def images(count=6, side=32):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def drawn(p, count=6, seed=1):
    return augmentation.draw_transforms(count, p, 32, torch.Generator().manual_seed(seed))


def test_probability_zero_changes_nothing():
    assert drawn(0.0) is None
    assert torch.equal(augment(images(), None), images())


def test_a_seed_decides_the_transforms_and_rows_belong_to_their_images():
    whole = augment(images(), drawn(0.8))
    assert torch.equal(whole, augment(images(), drawn(0.8)))
    assert not torch.equal(whole, augment(images(), drawn(0.8, seed=2)))
    part = augment(images()[[1, 4]], drawn(0.8).rows([1, 4]))
    torch.testing.assert_close(part, whole[[1, 4]])


def test_about_p_of_the_images_are_moved():
    drawings = [drawn(0.1, count=50, seed=seed).geometry for seed in range(40)]
    moved = [not torch.equal(one, torch.eye(3)[:2]) for drawing in drawings for one in drawing]
    # Mirror at half the chance; a quarter of the quarter turns is by 0, an eighth of the
    # whole shifts rounds to 0; zoom, the two rotations, stretch and two shifts at p.
    expected = 1 - 0.95 * (1 - 0.075) * (1 - 0.0875) ** 2 * 0.9**5
    assert sum(moved) / len(moved) == pytest.approx(expected, abs=0.02)


def test_a_quarter_turn_and_a_mirror_are_exact():
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    mirror = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    one = images(1)
    for geometry, expected in ((turn, torch.rot90(one, 1, (2, 3))), (mirror, one.flip(3))):
        moved = augment(one, Transforms(geometry, torch.eye(4)[None, :3]))
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_colors_keep_grey_on_the_grey_axis():
    for color in drawn(0.8, count=30).color:
        red, green, blue = (color @ torch.tensor([0.3, 0.3, 0.3, 1.0])).tolist()
        assert (red, blue) == pytest.approx((green, green), abs=1e-5)


def test_gradients_reach_the_images():
    one = images().requires_grad_(True)
    augment(one, drawn(0.8)).square().sum().backward()
    assert float(one.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("p", "sign_sum", "images", "ada_kimg", "expected"),
    [
        (0.0, 64, 64, 1, 0.064),  # the discriminator is certain
        (0.064, 0, 32, 1, 0.032),  # it is not
        (0.0, -64, 4, 0.001, 0.0),
        (0.0, 64, 4000, 0.001, 0.8),  # above it the transforms appear in images
    ],
)
def test_p_rises_while_the_discriminator_is_certain_within_bounds(
    p, sign_sum, images, ada_kimg, expected
):
    ada = AdaptiveP(p, sign_sum, 64)
    ada.adjust(images, ada_kimg)
    assert ada.p == pytest.approx(expected)
    assert (ada.sign_sum, ada.count) == (0.0, 0)
