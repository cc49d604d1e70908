import numpy as np
import pytest
import torch

from l4f_datagen.benchmark import supervised
from l4f_datagen.benchmark.bench import Bench, Block


def bright(net, images):
    """Stand in for the truth's net: the object is what is brighter than the middle."""
    return (images.mean(axis=3) > np.median(images.mean(axis=3))).astype(np.float32)


@pytest.fixture
def bench(make_bench, monkeypatch):
    monkeypatch.setattr(supervised, "truth_net", lambda bench: None)
    monkeypatch.setattr(supervised, "predict", bright)
    return make_bench(num_images=6)


@pytest.fixture
def block(bench):
    return bench.read_block(bench.eval_draws(1.0))


@pytest.mark.parametrize(("inverted", "low", "high"), [(False, 0.7, 1.0), (True, 0.0, 0.3)])
def test_it_learns_what_it_is_taught(bench, block, monkeypatch, inverted, low, high):
    """Three channels a resolution of an untrained generator tell bright from dark in part."""
    monkeypatch.setattr(supervised, "TAUGHT", supervised.TaughtPlan(200, 4, 0.03))
    if inverted:
        monkeypatch.setattr(supervised, "predict", lambda net, images: 1 - bright(net, images))
    found = supervised.label(bench, supervised.teach(bench, 0), block)
    assert low < (found == (bright(None, block.images) > supervised.THRESHOLD)).mean() < high


def test_a_taught_network_is_a_function_of_the_seed_and_is_kept(bench, block, monkeypatch):
    state = torch.random.get_rng_state()
    first, again, other = (supervised.teach(bench, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    masks = supervised.prepare_taught(bench, 0).label(block)
    monkeypatch.delattr(supervised, "teach")
    kept = supervised.prepare_taught(bench, 0).label(Block(block.draws, block.images))
    np.testing.assert_array_equal(kept, masks)


def test_no_scored_image_is_trained_on(bench, monkeypatch):
    seen, synthesis = [], Bench.synthesis

    def watched(self, draws):
        seen.extend(draw.seed for draw in draws)
        return synthesis(self, draws)

    monkeypatch.setattr(Bench, "synthesis", watched)
    supervised.teach(bench, 0)
    assert len(set(seen)) == len(seen) == 4
    assert not set(seen) & {draw.seed for draw in bench.eval_draws(1.0)}
