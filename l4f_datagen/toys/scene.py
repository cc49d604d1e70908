"""Toy scenes: one object before stationary ground, with its exact mask."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.sample import image_to_uint8
from l4f_datagen.toys.car import Car, draw_car
from l4f_datagen.toys.fish import Fish, draw_fish
from l4f_datagen.toys.ground import GROUNDS, WALLS, WATERS, GroundKind, draw_ground
from l4f_datagen.toys.portrait import Portrait, draw_portrait
from l4f_datagen.toys.shapes import FRAME, Colour, Plane, turned

MIN_SIZE, MAX_SIZE = 32, 256  # a choice: px of a side
SUPERSAMPLE = 4  # cells per pixel and axis of the mask: the edge is right to .015 on average
PAINT_SUPERSAMPLE = 2  # of the colours: finer ones look the same and take longer

Subject = Car | Fish | Portrait


class Toy(NamedTuple):
    """One toy domain: its kinds of ground, and what draws an object for a ground's colour."""

    grounds: Mapping[str, GroundKind]
    draw: Callable[[np.random.Generator, Colour], Subject]


TOYS = {
    "toy-cars": Toy(GROUNDS, draw_car),
    "toy-fish": Toy(WATERS, draw_fish),
    "toy-portraits": Toy(WALLS, draw_portrait),
}

HELD_OUT_SEED = 1_000_000
"""Scene seeds from here on are never learnt from; what learns from scenes is scored on them."""


@dataclass(frozen=True)
class Scene:
    """One scene and its true mask: the share of each pixel that the object covers, no shadow."""

    image: NDArray[np.uint8]  # ``h w 3``, RGB
    alpha: NDArray[np.float32]  # ``h w`` in [0, 1]
    ground: str  # a key of ``Toy.grounds``
    subject: Subject  # measures, position and colours, independent of the size


def render_scene(seed: int, size: int = 64, domain: str = "toy-cars") -> Scene:
    """Render one scene; a pure function of its arguments.

    The same seed, at least 0, shows the same object at every size, which is the side of the square
    image, 32 to 256 px. ``domain`` is a key of ``TOYS``. UsageError for anything else.
    """
    _check(seed, size, domain)
    toy = TOYS[domain]
    layout, grain = np.random.default_rng(seed).spawn(2)
    ground = draw_ground(layout, toy.grounds)
    subject = toy.draw(layout, ground.colour)
    sun = float(layout.uniform(0, 2 * np.pi))
    drop, strength = float(layout.uniform(3.4, 5.2)), float(layout.uniform(0.45, 0.62))
    shade = _shadow(subject, sun, drop, strength, size)
    image = toy.grounds[ground.name].render(ground, grain, size).astype(np.float32) * (1 - shade)
    np.clip(image, 0, 1, out=image)
    alpha = np.zeros((size, size), np.float32)
    _paint(subject, sun, image, alpha)
    pixels = image_to_uint8(image.transpose(1, 2, 0) * 2 - 1)
    return Scene(np.ascontiguousarray(pixels), alpha, ground.name, subject)


def render_scenes(
    seeds: Sequence[int], size: int = 64, workers: int = 1, domain: str = "toy-cars"
) -> Iterator[Scene]:
    """Render scenes in the order of their seeds, in ``workers`` processes, which change nothing.

    Everything is checked at once, as in ``render_scene``.
    """
    if workers < 1:
        raise UsageError("workers", f"expected at least 1, got {workers}", "give 1 or more")
    for seed in seeds:
        _check(seed, size, domain)
    return _render_all(seeds, size, workers, domain)


def _render_all(seeds: Sequence[int], size: int, workers: int, domain: str) -> Iterator[Scene]:
    render = partial(render_scene, size=size, domain=domain)
    if workers == 1 or len(seeds) < 2:
        yield from map(render, seeds)
        return
    # Spawned, because forking a process in which torch runs threads can hang.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(seeds))) as pool:
        yield from pool.imap(render, seeds, chunksize=16)


def _check(seed: int, size: int, domain: str) -> None:
    if seed < 0:
        raise UsageError("seed", f"expected 0 or more, got {seed}", "give a non-negative seed")
    if not MIN_SIZE <= size <= MAX_SIZE:
        problem = f"expected {MIN_SIZE} to {MAX_SIZE} pixels, got {size}"
        raise UsageError("size", problem, "choose a size in that range")
    if domain not in TOYS:
        raise UsageError("domain", f"no toy domain {domain!r}", f"choose from {', '.join(TOYS)}")


def _paint(subject: Subject, sun: float, image: Plane, alpha: Plane) -> None:
    """Draw the object into the image ``3 h w`` and its coverage into alpha ``h w``, in place."""
    size = alpha.shape[0]
    unit = size / FRAME
    reach_x, reach_y = subject.reach
    left, right = int((subject.x - reach_x) * unit) - 1, int((subject.x + reach_x) * unit) + 2
    top, bottom = int((subject.y - reach_y) * unit) - 1, int((subject.y + reach_y) * unit) + 2
    top, bottom, left, right = max(top, 0), min(bottom, size), max(left, 0), min(right, size)

    def cells(per_pixel: int) -> tuple[float, Plane, Plane]:
        """Return the distance of the window's cells, and where they lie in the object's frame."""
        step = 1 / (unit * per_pixel)
        x = (np.arange(left * per_pixel, right * per_pixel) + 0.5) * step - subject.x
        y = (np.arange(top * per_pixel, bottom * per_pixel) + 0.5) * step - subject.y
        return step, *_own_frame(subject, x, y)

    step, u, v = cells(SUPERSAMPLE)
    fine: Plane = np.clip(np.float32(0.5) - subject.outline(u, v) / np.float32(step), 0, 1)
    covered = _pool(fine[None], SUPERSAMPLE // PAINT_SUPERSAMPLE)
    step, u, v = cells(PAINT_SUPERSAMPLE)
    colour = subject.colours(u, v, step, float(np.sin(sun - subject.angle)))
    window = (slice(top, bottom), slice(left, right))
    alpha[window] = _pool(covered, PAINT_SUPERSAMPLE)[0]
    image[:, *window] *= 1 - alpha[window]
    image[:, *window] += _pool(colour * covered, PAINT_SUPERSAMPLE)


def _own_frame(subject: Subject, x: NDArray[Any], y: NDArray[Any]) -> tuple[Plane, Plane]:
    """Return (u, v) of columns x and rows y from the object's centre."""
    u, v = turned(subject.angle, x[None, :], y[:, None])
    return u.astype(np.float32), v.astype(np.float32)


def _pool(planes: Plane, factor: int) -> Plane:
    """Box filter, ``c h w`` to ``c h/factor w/factor``."""
    cells = sum(planes[:, i::factor, j::factor] for i in range(factor) for j in range(factor))
    return np.asarray(cells, np.float32) * np.float32(1 / factor**2)


def _shadow(subject: Subject, sun: float, drop: float, strength: float, size: int) -> Plane:
    """Darkening of the ground, ``h w`` in [0, 1]: a cast shadow and a close one all round.

    ``sun`` is the clockwise angle from straight up to the sun, ``drop`` the length of the shadow.
    """
    at = (np.arange(size) + 0.5) * (FRAME / size)

    def fade(dx: float, dy: float, blur: float) -> Plane:
        u, v = _own_frame(subject, at - subject.x - dx, at - subject.y - dy)
        distance = subject.footprint(u, v)
        ramp = np.clip(np.float32(0.5) - distance / np.float32(2 * blur), 0, 1)
        soft: Plane = ramp * ramp * (3 - 2 * ramp)
        return soft

    cast = fade(-drop * np.sin(sun), drop * np.cos(sun), 1.6) * np.float32(strength)
    close = fade(0.0, 0.0, 1.8) * np.float32(0.28)
    shade: Plane = np.maximum(cast, close)
    return shade
