"""Diverse pictures: the few of a plan that show an annotator the most.

Farthest-point selection (Gonzalez 1985) over a fixed pool, the head of the plan: each next picture
is the one least like all chosen before. Likeness is the distance of pictures at 16 px, which the
first blocks of the generator draw for a few percent of the cost of a whole picture. The tenth of
the pool that is farthest from the mean of its psi is left out: what is farthest from everything is
mostly broken, and says little about the rest.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.models.devices import one_thread
from l4f_datagen.models.generator import Generator
from l4f_datagen.rendering.plan import Draw, Sweep
from l4f_datagen.rendering.render import Renderer, noise_stream

COARSE_PX = 16
POOL_LEAST, POOL_FACTOR = 256, 8
OUTERMOST = 0.1
MAX_DIVERSE = 1000
BATCH = 32


def diverse_draws(renderer: Renderer, sweep: Sweep, number: int) -> list[Draw]:
    """Pick ``number`` positions of the plan that differ most, psi in turn as in the plan.

    A function of (checkpoint, plan, styles, noise mode, number); the same pool for every number up
    to 32.

    Args:
        renderer: of the recipe.
        sweep: the plan.
        number: at most 1,000.

    Raises:
        UsageError: more than 1,000, or more than the plan has.
    """
    if number > MAX_DIVERSE:
        problem = f"asks for {number} diverse pictures, at most {MAX_DIVERSE}"
        raise UsageError("--n", problem, "give --no-diverse to take the first of the plan")
    if number > sweep.capacity:
        problem = f"asks for {number}, but psi x seeds has {sweep.capacity} positions"
        raise UsageError("--n", problem, "give more --seeds or psi, or a smaller --n")
    size = min(sweep.capacity, max(POOL_LEAST, POOL_FACTOR * number))
    pool = [sweep.draw(position) for position in range(size)]
    points = coarse_pictures(renderer, pool)
    psis = np.asarray([draw.psi for draw in pool])
    turns = [sweep.psi[slot % len(sweep.psi)] for slot in range(number)]
    return [pool[place] for place in farthest_points(points, psis, turns)]


def coarse_generator(generator: Generator, side: int = COARSE_PX) -> Generator:
    """The first blocks of a generator as a generator of ``side`` px; it shares the weights.

    In the skip architecture the sum of the first ToRGB maps is a picture already.
    """
    channels = {px: width for px, width in generator.spec.channels.items() if px <= side}
    with torch.device("meta"):
        coarse = Generator(replace(generator.spec, resolution=side, channels=channels))
    state = generator.state_dict()
    coarse.load_state_dict({name: state[name] for name in coarse.state_dict()}, assign=True)
    return coarse.eval().requires_grad_(False)


@one_thread()
@torch.inference_mode()
def coarse_pictures(renderer: Renderer, draws: list[Draw]) -> NDArray[np.uint8]:
    """Draw the 16 px that the first blocks make of the very ws and noise of each draw.

    Returns:
        uint8 ``draws 768``, a picture a row.
    """
    coarse = coarse_generator(renderer.generator)
    rows = []
    for start in range(0, len(draws), BATCH):
        batch = draws[start : start + BATCH]
        # By the whole generator: the layer that mixing begins at is drawn among all its rows.
        ws = renderer.styles.ws(renderer.generator, batch)[:, : coarse.spec.num_ws]
        streams = [noise_stream(draw.seed) for draw in batch]
        image = coarse.synthesis(ws, coarse.noise(renderer.noise_mode, streams)).image
        rows.append(image_to_uint8(image).cpu().numpy().reshape(len(batch), -1))
    return np.concatenate(rows)


def farthest_points(
    points: NDArray[np.uint8], groups: NDArray[np.float64], turns: list[float]
) -> list[int]:
    """Choose one point a turn, each as far as can be from all chosen before.

    Distances are whole numbers, so that no rounding decides.

    Args:
        points: uint8 ``points dims``.
        groups: ``points``, which turn a point may be chosen in.
        turns: the group of each choice; the first is the point nearest its group's mean.

    Returns:
        Positions of the chosen points, none twice.
    """
    values = points.astype(np.int32)
    free = np.zeros(len(values), np.bool_)
    centrality = np.empty(len(values))
    for group in dict.fromkeys(turns):
        members = np.flatnonzero(groups == group)
        spread = values[members] - values[members].mean(axis=0)
        centrality[members] = (spread**2).sum(axis=1)
        kept = max(turns.count(group), int(np.ceil((1 - OUTERMOST) * len(members))))
        free[members[np.argsort(centrality[members], kind="stable")[:kept]]] = True
    first = np.flatnonzero(free & (groups == turns[0]))
    chosen = [int(first[centrality[first].argmin()])]
    nearest = np.full(len(values), np.iinfo(np.int64).max)
    for turn in [*turns[1:], None]:
        free[chosen[-1]] = False
        distance = ((values - values[chosen[-1]]) ** 2).sum(axis=1, dtype=np.int64)
        nearest = np.minimum(nearest, distance)
        if turn is not None:
            open_to = np.flatnonzero(free & (groups == turn))
            chosen.append(int(open_to[nearest[open_to].argmax()]))
    return chosen
