import numpy as np
import torch

from l4f_datagen.benchmark.redo import LATENT, Redo, RedoPlan, train_redo

PLAN = RedoPlan(steps=3, batch=4, width=4)


def images(count=8):
    return np.random.RandomState(5).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_only_the_redrawn_region_changes():
    torch.manual_seed(0)
    net = Redo(PLAN).eval()
    with torch.no_grad():  # the object is the left half
        net.masker.forward = lambda x: torch.where(torch.arange(32) < 16, 99.0, -99.0).expand(
            len(x), 1, 32, 32
        )
        image = torch.rand(2, 3, 32, 32)
        drawn = net.redraw(image, torch.randn(2, LATENT), region=1)
        ground = net.redraw(image, torch.randn(2, LATENT), region=0)
    assert torch.equal(drawn[..., 16:], image[..., 16:])
    assert not torch.allclose(drawn[..., :16], image[..., :16])
    assert torch.equal(ground[..., :16], image[..., :16])


def test_training_is_a_function_of_images_and_plan():
    trained_on = images()
    first, again = (train_redo(trained_on, PLAN).state_dict() for _ in range(2))
    other = train_redo(trained_on, RedoPlan(seed=1, steps=3, batch=4, width=4)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["masker.out.weight"], other["masker.out.weight"])


def test_a_step_moves_every_network():
    torch.manual_seed(PLAN.seed)
    before = {name: value.clone() for name, value in Redo(PLAN).named_parameters()}
    after = dict(train_redo(images(), PLAN).named_parameters())
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"masker", "painters", "discriminator", "recovery"}
