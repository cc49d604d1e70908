import numpy as np
import pytest
import torch

from l4f_datagen.benchmark import taught
from l4f_datagen.benchmark.bench import Block
from l4f_datagen.benchmark.images import read_block, write_images
from l4f_datagen.benchmark.job import open_bench


def bright(net, images):
    """Stand in for the truth's net: the object is what is brighter than the middle."""
    return (images.mean(axis=3) > np.median(images.mean(axis=3))).astype(np.float32)


@pytest.fixture
def bench(make_job, monkeypatch):
    monkeypatch.setattr(taught, "truth_net", lambda bench: None)
    monkeypatch.setattr(taught, "predict", bright)
    job = make_job(num_images=6)
    job.out.mkdir()
    return open_bench(job, print)


def agreement(bench, network):
    write_images(bench, (1.0,))
    block = read_block(bench, bench.draws(1.0))
    wanted = bright(None, block.images) > taught.THRESHOLD
    return (taught.label(bench, network, block) == wanted).mean()


def test_it_learns_what_it_is_taught(bench, monkeypatch):
    """Three channels a resolution of an untrained generator tell bright from dark in part."""
    monkeypatch.setattr(taught, "TEACHING", taught.Teaching(200, 4, 0.03))
    assert agreement(bench, taught.teach(bench, 0)) > 0.7
    monkeypatch.setattr(taught, "predict", lambda net, images: 1 - bright(net, images))
    assert agreement(bench, taught.teach(bench, 0)) < 0.3


def test_a_taught_network_is_a_function_of_the_seed_and_is_kept(bench, monkeypatch):
    state = torch.random.get_rng_state()
    first, again, other = (taught.teach(bench, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)

    write_images(bench, (1.0,))
    block = read_block(bench, bench.draws(1.0))
    masks = taught.prepare_taught(bench, 0).label(block)
    monkeypatch.delattr(taught, "teach")
    kept = taught.prepare_taught(bench, 0).label(Block(block.draws, block.images))
    np.testing.assert_array_equal(kept, masks)


def test_no_scored_picture_is_learnt_from(bench, monkeypatch):
    seen, synthesis_of = [], taught.synthesis_of

    def watched(bench, draws):
        seen.extend(draw.seed for draw in draws)
        return synthesis_of(bench, draws)

    monkeypatch.setattr(taught, "synthesis_of", watched)
    taught.teach(bench, 0)
    assert len(set(seen)) == len(seen) == 4
    assert not set(seen) & {draw.seed for draw in bench.draws(1.0)}
