"""The local engine: order, look-ahead and bytes, whatever the number of threads."""

import os
import threading
from itertools import chain

import numpy as np
import pytest
import torch

from l4f_datagen.pipeline.local_engine import LocalEngine, render_threads
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering import render as render_module
from l4f_datagen.rendering.plan import Sweep
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer


@pytest.fixture
def renderer(make_generator, make_alpha):
    generator = make_generator(16)
    return Renderer(generator, make_alpha(generator), mask_threshold=0.5)


@pytest.fixture
def quota():
    return Quota(20, "attempts", Sweep((0.5, 1.0), parse_seeds("0-"), 4, 2))


@pytest.fixture
def begun(monkeypatch):
    """The image ids of every piece whose rendering was started."""
    begun, start = [], Renderer.start

    def watched(self, draws):
        begun.append([draw.image_id for draw in draws])
        return start(self, draws)

    monkeypatch.setattr(Renderer, "start", watched)
    return begun


def after(shard):
    return shard + 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_come_in_order_and_alike_for_any_number_of_threads(renderer, quota, threads):
    with LocalEngine([renderer] * threads, quota.blocks, after) as engine:
        found = [block for shard in range(3) for block in engine.render(shard)]
    wanted = [renderer.render(block) for shard in range(3) for block in quota.blocks(shard)]
    for sample, same in zip(chain(*found), chain(*wanted), strict=True):
        assert sample.key == same.key
        assert np.array_equal(sample.image, same.image)
        assert np.array_equal(sample.alpha, same.alpha)


def test_rendering_runs_ahead_over_the_end_of_a_shard_but_not_far(renderer, quota):
    asked = []

    def blocks(shard):
        asked.append(shard)
        return quota.blocks(shard)

    with LocalEngine([renderer], blocks, after) as engine:
        first = engine.render(0)
        for shards in ({0}, {0, 1}):
            next(first)
            assert set(asked) == shards


def test_nothing_unneeded_is_started_ahead(renderer, quota, begun):
    left = iter((8, 4, 0))
    with LocalEngine([renderer] * 2, quota.blocks, after) as engine:
        found = list(engine.render(0, lambda: next(left)))
    assert [sample.image_id for block in found for sample in block] == list(range(1, 9))
    assert sorted(begun) == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_the_thread_that_rendered_goes_on_with_the_samples(renderer, quota):
    def then(samples):
        return [threading.current_thread().name.partition("_")[0] for _ in samples]

    with LocalEngine([renderer], quota.blocks, after, then) as engine:
        assert next(engine.render(0)) == ["render"] * 4


def test_make_renders_no_block_beyond_its_count(make, tiny_recipe, begun):
    tiny_recipe["filters"] = {"preset": "none"}
    make("out", 11, workers=3)
    # Three blocks of four, two shards.
    assert sorted(chain.from_iterable(begun)) == list(range(1, 13))


def test_a_shard_out_of_turn_is_rendered_too(renderer, quota):
    with LocalEngine([renderer] * 2, quota.blocks, after) as engine:
        next(engine.render(0))
        keys = [sample.key for sample in chain.from_iterable(engine.render(2))]
    assert keys == [draw.key for draw in chain.from_iterable(quota.blocks(2))]


def test_a_failing_piece_raises_and_later_shards_go_on(renderer, quota, monkeypatch):
    def broken(self, draws):
        raise RuntimeError("the generator broke")

    with LocalEngine([renderer] * 2, quota.blocks, after) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(Renderer, "start", broken)
            with pytest.raises(RuntimeError, match="the generator broke"):
                next(engine.render(0))
        assert len(list(engine.render(1))) == 2


def test_a_cpu_has_a_thread_a_core_and_each_named_device_one(renderer):
    assert len(render_threads([renderer])) == len(os.sched_getaffinity(0))
    assert len(render_threads([renderer], 3)) == 3
    assert len(render_threads([renderer, renderer])) == 2


def test_large_images_are_rendered_in_pieces(renderer, quota, monkeypatch):
    [block, _] = quota.blocks(0)
    for pixels, lengths in ((2 * 16**2, [2, 2]), (1, [1] * 4)):
        monkeypatch.setattr(render_module, "CPU_PIXELS", pixels)
        pieces = renderer.pieces(block)
        assert list(chain.from_iterable(pieces)) == block
        assert [len(piece) for piece in pieces] == lengths


def test_threads_and_devices_change_no_byte(made, tiny_recipe, rows_of):
    tiny_recipe["sampling"]["refine"] = "guided"
    found, before = [], torch.get_num_threads()
    options = {"workers": 1}, {"devices": ("cpu", "cpu")}, {"workers": 3}
    try:
        for threads, option in enumerate(options, 1):
            torch.set_num_threads(threads)
            found.append(made(f"with{threads}", 20, **option))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert {"refined", "refine_iou"} <= rows_of("with1")[0]["scores"].keys()
