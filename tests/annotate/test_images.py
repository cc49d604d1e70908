from itertools import combinations

import numpy as np
import pytest

from l4f_datagen.annotate.images import (
    coarse_generator,
    coarse_images,
    diverse_draws,
    farthest_points,
)
from l4f_datagen.core.errors import UsageError
from l4f_datagen.recipe.seeds import parse_seeds
from l4f_datagen.rendering.latents import open_latents
from l4f_datagen.rendering.plan import Sweep
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.rendering.styles import Styles


def sweep(psi=(0.5, 1.0), seeds="0-"):
    return Sweep(psi, parse_seeds(seeds), block_size=8, blocks_per_shard=2)


@pytest.fixture
def renderer(make_generator):
    return Renderer(make_generator(32), None)


def test_the_coarse_generator_shares_weights_and_draws_the_first_rgb_maps(renderer):
    coarse, state = coarse_generator(renderer.generator), renderer.generator.state_dict()
    assert coarse.spec.resolution == 16
    for name, tensor in coarse.state_dict().items():
        assert tensor.data_ptr() == state[name].data_ptr()
    sample = Renderer(coarse, None).render([sweep().draw(0)])[0]
    assert sample.image.shape == (16, 16, 3)


def test_picks_are_distinct_in_turn_and_the_same_again_and_mixing_moves_them(renderer):
    draws = diverse_draws(renderer, sweep(), 9)
    assert [draw.psi for draw in draws] == [0.5, 1.0] * 4 + [0.5]
    assert len({draw.key for draw in draws}) == 9
    assert all(draw == sweep().draw(draw.image_id - 1) for draw in draws)
    assert diverse_draws(renderer, sweep(), 9) == draws
    assert diverse_draws(renderer, sweep(), 5) == draws[:5]
    mixing = Renderer(renderer.generator, None, styles=Styles(style_mixing=1.0))
    assert diverse_draws(mixing, sweep(), 9) != draws


def test_picks_lie_farther_apart_than_the_first_of_the_plan(renderer):
    plan = sweep((0.7,))
    chosen = diverse_draws(renderer, plan, 8), [plan.draw(place) for place in range(8)]
    picked, first = (
        min(np.linalg.norm(a - b) for a, b in combinations(images.astype(float), 2))
        for images in (coarse_images(renderer, draws) for draws in chosen)
    )
    assert picked > 1.5 * first


@pytest.mark.parametrize("mixing", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["z", "w", "w+"])
def test_what_is_compared_is_drawn_from_the_ws_that_are_rendered(renderer, tmp_path, kind, mixing):
    """Where the finer layers paint nothing, the image is the coarse one, enlarged."""
    generator = renderer.generator
    for parameter in generator.synthesis.get_submodule("b32.torgb").parameters():
        parameter.data.zero_()
    shape = {"z": (6, 8), "w": (6, 8), "w+": (6, generator.spec.num_ws, 8)}[kind]
    np.save(tmp_path / "l.npy", np.random.RandomState(1).randn(*shape).astype(np.float32))
    styles = Styles(open_latents(str(tmp_path / "l.npy")), kind[0], mixing, truncation_cutoff=3)
    renderer = Renderer(generator, None, noise_mode="random", styles=styles)
    draws = [sweep(seeds="0-5").draw(place) for place in range(12)]
    coarse = coarse_images(renderer, draws).reshape(-1, 3, 16, 16).transpose(0, 2, 3, 1)
    # Enlarging smooths a little; clear of the border a mean of 2 x 2 pixels undoes most of it.
    images = np.stack([sample.image for sample in renderer.render(draws)])
    shrunk = images.reshape(12, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    clear = [pictures[:, 2:-2, 2:-2].reshape(12, -1) for pictures in (coarse, shrunk)]
    likeness = np.corrcoef(*clear)[:12, 12:]
    assert likeness.diagonal().min() > 0.85
    assert likeness.argmax(axis=1).tolist() == list(range(12))


def test_greedy_choice_equals_a_plain_search_over_what_is_not_outermost():
    points = np.random.RandomState(4).randint(0, 256, (60, 12)).astype(np.uint8)
    groups, turns = np.asarray([0.5, 1.0] * 30), [0.5, 1.0, 0.5, 1.0, 0.5]
    exact, allowed, chosen = points.astype(int), set(), []
    for group in (1.0, 0.5):
        members = np.flatnonzero(groups == group).tolist()
        mean = exact[members].mean(axis=0)
        by_distance = sorted(members, key=lambda k: ((exact[k] - mean) ** 2).sum())
        allowed |= set(by_distance[:27])
    chosen.append(by_distance[0])
    for turn in turns[1:]:
        rest = sorted(k for k in allowed if groups[k] == turn and k not in chosen)
        apart = {k: min(((exact[k] - exact[c]) ** 2).sum() for c in chosen) for k in rest}
        chosen.append(max(rest, key=lambda k: apart[k]))
    assert farthest_points(points, groups, turns) == chosen


@pytest.mark.parametrize(
    ("number", "seeds", "match"),
    [
        (4, "3-4", None),
        (1001, "0-", "--n: asks for 1001 diverse images, at most 1000; give --no-diverse"),
        (9, "0-3", "--n: asks for 9, but psi x seeds has 8 positions"),
    ],
)
def test_all_of_a_small_plan_can_be_picked_and_no_more(renderer, number, seeds, match):
    plan = sweep(seeds=seeds)
    if match is None:
        draws = diverse_draws(renderer, plan, number)
        assert {draw.key for draw in draws} == {plan.draw(k).key for k in range(number)}
        return
    with pytest.raises(UsageError, match=match):
        diverse_draws(renderer, plan, number)
