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
from l4f_datagen.toys.ground import (
    FRAME,
    GROUNDS,
    WALLS,
    WATERS,
    Colour,
    GroundKind,
    draw_ground,
)
from l4f_datagen.toys.portrait import Portrait, draw_portrait
from l4f_datagen.toys.shapes import Plane

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

    The same seed shows the same object at every size.

    Args:
        seed: at least 0.
        size: side of the square image in pixels, 32 to 256.
        domain: a key of ``TOYS``.

    Raises:
        UsageError: a negative seed, a size out of range or an unknown domain.
    """
    _check(seed, size, domain)
    toy = TOYS[domain]
    layout, grain = np.random.default_rng(seed).spawn(2)
    ground = draw_ground(layout, toy.grounds)
    subject = toy.draw(layout, ground.colour)
    sun = float(layout.uniform(0, 2 * np.pi))
    shade = _shadow(
        subject, sun, float(layout.uniform(3.4, 5.2)), float(layout.uniform(0.45, 0.62)), size
    )
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
    window = (slice(max(top, 0), min(bottom, size)), slice(max(left, 0), min(right, size)))
    step = 1 / (unit * SUPERSAMPLE)
    distance = subject.outline(*_own_frame(subject, window, step, SUPERSAMPLE))
    fine: Plane = np.clip(np.float32(0.5) - distance / np.float32(step), 0, 1)
    covered = _pool(fine[None], SUPERSAMPLE // PAINT_SUPERSAMPLE)
    step = 1 / (unit * PAINT_SUPERSAMPLE)
    u, v = _own_frame(subject, window, step, PAINT_SUPERSAMPLE)
    colour = subject.colours(u, v, step, float(np.sin(sun - subject.angle)))
    alpha[window] = _pool(covered, PAINT_SUPERSAMPLE)[0]
    image[:, *window] *= 1 - alpha[window]
    image[:, *window] += _pool(colour * covered, PAINT_SUPERSAMPLE)


def _own_frame(
    subject: Subject, window: tuple[slice, slice], step: float, per_pixel: int
) -> tuple[Plane, Plane]:
    """Object coordinates (u, v) of the cells in a window of pixels, ``step`` apart."""
    rows, columns = window
    x = (np.arange(columns.start * per_pixel, columns.stop * per_pixel) + 0.5) * step - subject.x
    y = (np.arange(rows.start * per_pixel, rows.stop * per_pixel) + 0.5) * step - subject.y
    return _turn(subject.angle, x, y)


def _turn(angle: float, x: NDArray[Any], y: NDArray[Any]) -> tuple[Plane, Plane]:
    cos, sin = np.cos(angle), np.sin(angle)
    u = (cos * x)[None, :] + (sin * y)[:, None]
    v = (-sin * x)[None, :] + (cos * y)[:, None]
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
        u, v = _turn(subject.angle, at - subject.x - dx, at - subject.y - dy)
        distance = subject.footprint(u, v)
        ramp = np.clip(np.float32(0.5) - distance / np.float32(2 * blur), 0, 1)
        soft: Plane = ramp * ramp * (3 - 2 * ramp)
        return soft

    cast = fade(-drop * np.sin(sun), drop * np.cos(sun), 1.6) * np.float32(strength)
    close = fade(0.0, 0.0, 1.8) * np.float32(0.28)
    shade: Plane = np.maximum(cast, close)
    return shade
