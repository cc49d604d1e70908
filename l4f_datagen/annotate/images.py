"""Images to annotate: one PNG for each key and a key file; no alpha network is needed."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.io.disk import staged
from l4f_datagen.models.devices import choose_device, one_thread
from l4f_datagen.models.generator import Generator
from l4f_datagen.pipeline.networks import obtain_generator
from l4f_datagen.recipe import Recipe
from l4f_datagen.rendering.plan import Draw, Sweep, sweep_of
from l4f_datagen.rendering.quota import Quota
from l4f_datagen.rendering.render import Renderer, noise_stream, renderer_of

from .keys import KeyFile, KeyRow, image_facts, write_key_file

logger = logging.getLogger(__name__)

COARSE_PX = 16
"""The first blocks render these for a few percent of the cost of a whole image."""
POOL_LEAST, POOL_FACTOR = 256, 8  # a choice
OUTERMOST = 0.1
"""Share of the pool, farthest from the mean of its psi, that is left out: mostly broken images."""
MAX_DIVERSE = 1000  # a choice: the choosing takes number x pool
BATCH = 32  # a choice, of 16 px


def write_images(
    recipe: Recipe,
    out: Path,
    number: int | None,
    *,
    device: str,
    diverse: bool | None = False,
    offline: bool = False,
) -> int:
    """Write ``number`` images of the plan (None: all of it) and their key file; return how many.

    An image already there is written again with the same bytes; files are staged and renamed. With
    ``diverse`` images are picked that differ, see ``diverse_draws``, instead of the first ones;
    None does so where there are at most 1,000. Refused are an endless plan without a number, more
    than the plan has, and a folder that cannot be written.
    """
    sweep = sweep_of(recipe.sampling)
    wanted = sweep.capacity if number is None else number
    if diverse is None:
        diverse = number is not None and wanted <= MAX_DIVERSE
        if number is not None and not diverse:
            first = f"{number} images: the first of the plan"
            logger.info(f"{first}; diverse ones are picked up to 1,000")
    Quota(wanted, "attempts", sweep)  # refuses before weights are opened
    on = choose_device(device)
    checkpoint, generator = obtain_generator(recipe.generator, on, offline=offline)
    renderer = renderer_of(recipe, generator, None)
    facts = image_facts(recipe, checkpoint) | {"diverse": diverse}
    rows = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        draws: Iterable[Draw] = map(sweep.draw, range(wanted))
        if diverse:
            draws = diverse_draws(renderer, sweep, wanted)
        with Meter(wanted, "sample", "images") as meter:
            for block in _blocks(draws, sweep.block_size):
                for sample in renderer.render(block):
                    row = KeyRow(f"{sample.key}.png", sample.psi, sample.seed)
                    with staged(out / row.file) as file:
                        Image.fromarray(sample.image).save(file, "PNG", compress_level=1)
                    rows.append(row)
                    meter.advance()
        write_key_file(out, KeyFile(rows, facts))
        others = {path.name for path in out.glob("*.png")} - {row.file for row in rows}
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(out), problem, "name a folder that can be written") from error
    if others:
        logger.warning(f"{len(others)} other images are in {out}; keys.csv does not name them")
    return len(rows)


def _blocks(draws: Iterable[Draw], size: int) -> Iterator[list[Draw]]:
    rest = iter(draws)
    while block := list(islice(rest, size)):
        yield block


def diverse_draws(renderer: Renderer, sweep: Sweep, number: int) -> list[Draw]:
    """Pick ``number`` positions of the plan that differ most, psi in turn as in the plan.

    Farthest-point selection (Gonzalez 1985) over a fixed pool, the start of the plan: each next
    image is the one least like all chosen before, by its pixels at 16 px.

    A function of (checkpoint, plan, styles, noise mode, number); the same pool for every number up
    to 32. More than 1,000, or than the plan has, is a UsageError.
    """
    if number > MAX_DIVERSE:
        problem = f"asks for {number} diverse images, at most {MAX_DIVERSE}"
        raise UsageError("--n", problem, "give --no-diverse to take the first of the plan")
    if number > sweep.capacity:
        problem = f"asks for {number}, but psi x seeds has {sweep.capacity} positions"
        raise UsageError("--n", problem, "give more --seeds or psi, or a smaller --n")
    size = min(sweep.capacity, max(POOL_LEAST, POOL_FACTOR * number))
    pool = [sweep.draw(position) for position in range(size)]
    points = coarse_images(renderer, pool)
    psis = np.asarray([draw.psi for draw in pool])
    turns = [sweep.psi[slot % len(sweep.psi)] for slot in range(number)]
    return [pool[place] for place in farthest_points(points, psis, turns)]


def coarse_generator(generator: Generator) -> Generator:
    """The first blocks of a generator as a generator of 16 px; it shares the weights.

    In the skip architecture the sum of the first ToRGB maps is an image already.
    """
    channels = {px: width for px, width in generator.spec.channels.items() if px <= COARSE_PX}
    with torch.device("meta"):
        coarse = Generator(replace(generator.spec, resolution=COARSE_PX, channels=channels))
    state = generator.state_dict()
    coarse.load_state_dict({name: state[name] for name in coarse.state_dict()}, assign=True)
    return coarse.eval().requires_grad_(False)


@one_thread()
@torch.inference_mode()
def coarse_images(renderer: Renderer, draws: list[Draw]) -> NDArray[np.uint8]:
    """Render each draw at 16 px with its own ws and noise; uint8 ``draws 768``."""
    coarse = coarse_generator(renderer.generator)
    rows = []
    with Meter(len(draws), "choosing from", "images") as meter:
        for batch in _blocks(draws, BATCH):
            # By the whole generator: the layer that mixing begins at is drawn among all its rows.
            ws = renderer.styles.ws(renderer.generator, batch)[:, : coarse.spec.num_ws]
            streams = [noise_stream(draw.seed) for draw in batch]
            image = coarse.synthesis(ws, coarse.noise(renderer.noise_mode, streams)).image
            rows.append(image_to_uint8(image).cpu().numpy().reshape(len(batch), -1))
            meter.advance(len(batch))
    return np.concatenate(rows)


def farthest_points(
    points: NDArray[np.uint8], groups: NDArray[np.float64], turns: list[float]
) -> list[int]:
    """Choose one of ``points`` (uint8 ``points dims``) in each turn, far from all chosen before.

    A turn names the group that is chosen from, by ``groups`` (``points``); the first choice is the
    point nearest its group's mean. Distances are whole numbers, so that no rounding decides.
    Returned are the positions of the chosen points, none twice.
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
