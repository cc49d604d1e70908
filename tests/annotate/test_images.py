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


def least_distance(points):
    return min(np.linalg.norm(a - b) for a, b in combinations(points.astype(float), 2))


def test_the_coarse_generator_shares_weights_and_draws_the_first_rgb_maps(make_generator):
    whole = make_generator(32)
    coarse = coarse_generator(whole)
    assert coarse.spec.resolution == 16
    state = whole.state_dict()
    for name, tensor in coarse.state_dict().items():
        assert tensor.data_ptr() == state[name].data_ptr()
    sample = Renderer(coarse, None).render([sweep().draw(0)])[0]
    assert sample.image.shape == (16, 16, 3)


def test_picks_are_distinct_in_turn_and_the_same_again(make_generator):
    renderer = Renderer(make_generator(32), None)
    draws = diverse_draws(renderer, sweep(), 9)
    assert [draw.psi for draw in draws] == [0.5, 1.0] * 4 + [0.5]
    assert len({draw.key for draw in draws}) == 9
    assert all(draw == sweep().draw(draw.image_id - 1) for draw in draws)
    assert diverse_draws(renderer, sweep(), 9) == draws
    assert diverse_draws(renderer, sweep(), 5) == draws[:5]


def test_picks_lie_farther_apart_than_the_first_of_the_plan(make_generator):
    renderer = Renderer(make_generator(16), None)
    picked = coarse_images(renderer, diverse_draws(renderer, sweep((0.7,)), 8))
    first = coarse_images(renderer, [sweep((0.7,)).draw(place) for place in range(8)])
    assert least_distance(picked) > 1.5 * least_distance(first)


@pytest.mark.parametrize("mixing", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["z", "w", "w+"])
def test_what_is_compared_is_drawn_from_the_ws_that_are_rendered(
    make_generator, tmp_path, kind, mixing
):
    """Where the finer layers paint nothing, the image is the coarse one, enlarged."""
    generator = make_generator(32)
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


def test_mixing_moves_the_picks(make_generator):
    generator = make_generator(32)
    plain = diverse_draws(Renderer(generator, None), sweep(), 8)
    mixed = diverse_draws(Renderer(generator, None, styles=Styles(style_mixing=1.0)), sweep(), 8)
    assert mixed != plain


def test_greedy_choice_equals_a_plain_search_over_what_is_not_outermost():
    stream = np.random.RandomState(4)
    points = stream.randint(0, 256, (60, 12)).astype(np.uint8)
    groups = np.asarray([0.5, 1.0] * 30)
    turns = [0.5, 1.0, 0.5, 1.0, 0.5]
    allowed = set()
    typical = {}
    for group in (0.5, 1.0):
        members = [k for k in range(60) if groups[k] == group]
        mean = points[members].astype(float).mean(axis=0)
        by_distance = sorted(members, key=lambda k: ((points[k] - mean) ** 2).sum())
        allowed |= set(by_distance[:27])
        typical[group] = by_distance[0]
    chosen = [typical[0.5]]
    for turn in turns[1:]:
        rest = [k for k in allowed if groups[k] == turn and k not in chosen]
        apart = {
            k: min(((points[k].astype(int) - points[c].astype(int)) ** 2).sum() for c in chosen)
            for k in rest
        }
        chosen.append(max(sorted(rest), key=lambda k: apart[k]))
    assert farthest_points(points, groups, turns) == chosen


def test_all_of_a_small_plan_can_be_picked(make_generator):
    renderer = Renderer(make_generator(16), None)
    draws = diverse_draws(renderer, sweep(seeds="3-4"), 4)
    assert {draw.key for draw in draws} == {sweep(seeds="3-4").draw(k).key for k in range(4)}


@pytest.mark.parametrize(
    ("number", "seeds", "match"),
    [
        (1001, "0-", "--n: asks for 1001 diverse images, at most 1000; give --no-diverse"),
        (9, "0-3", "--n: asks for 9, but psi x seeds has 8 positions"),
    ],
)
def test_more_than_can_be_picked_is_refused(make_generator, number, seeds, match):
    with pytest.raises(UsageError, match=match):
        diverse_draws(Renderer(make_generator(16), None), sweep(seeds=seeds), number)
