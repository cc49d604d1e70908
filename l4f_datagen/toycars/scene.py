"""toy-cars: cars seen from above on stationary ground, with exact masks."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.errors import UsageError
from l4f_datagen.sample import image_to_uint8
from l4f_datagen.toycars.car import Car, Plane, draw_car, paint_car, rounded_box, silhouette
from l4f_datagen.toycars.ground import FRAME, draw_ground, lay_ground

MIN_SIZE, MAX_SIZE = 32, 256
SUPERSAMPLE = 4
"""Cells per pixel and axis of the mask; each holds its own share of the edge that crosses it."""
PAINT_SUPERSAMPLE = 2
"""The same for the colours, whose edges within the car are as soft: half is enough to the eye."""


@dataclass(frozen=True)
class Scene:
    """One toy car and its truth.

    Attributes:
        image: uint8 ``h w 3``, RGB.
        alpha: float32 ``h w`` in [0, 1], the share of each pixel that the car (body, mirrors and
            wheels, not its shadow) covers.
        ground: name of the ground, one of ``asphalt``, ``grass``, ``sand``, ``paving``.
        car: measures, place and colours of the car, independent of the size.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    ground: str
    car: Car


def render_scene(seed: int, size: int = 64) -> Scene:
    """Render one scene; a pure function of both arguments.

    The same seed shows the same car at every size.

    Args:
        seed: at least 0.
        size: side of the square image in pixels, 32 to 256.

    Raises:
        UsageError: the seed is negative or the size out of range.
    """
    _check(seed, size)
    layout, grain = np.random.default_rng(seed).spawn(2)
    ground = draw_ground(layout)
    car = draw_car(layout, ground.colour)
    sun = float(layout.uniform(0, 2 * np.pi))
    shade = _shadow(
        car, sun, float(layout.uniform(3.4, 5.2)), float(layout.uniform(0.45, 0.62)), size
    )
    picture = lay_ground(ground, grain, size).astype(np.float32) * (1 - shade)
    np.clip(picture, 0, 1, out=picture)
    alpha = np.zeros((size, size), np.float32)
    _place(car, sun, picture, alpha)
    image = image_to_uint8(picture.transpose(1, 2, 0) * 2 - 1)
    return Scene(np.ascontiguousarray(image), alpha, ground.name, car)


def render_scenes(seeds: Sequence[int], size: int = 64, workers: int = 1) -> Iterator[Scene]:
    """Render scenes in the order of their seeds, the same whatever the number of workers.

    Args:
        seeds: each at least 0.
        size: as in ``render_scene``.
        workers: processes; 1 renders in this one.

    Raises:
        UsageError: a seed is negative, the size out of range or workers below 1.
    """
    if workers < 1:
        raise UsageError("workers", f"expected at least 1, got {workers}", "give 1 or more")
    for seed in seeds:
        _check(seed, size)
    return _render_all(seeds, size, workers)


def _render_all(seeds: Sequence[int], size: int, workers: int) -> Iterator[Scene]:
    render = partial(render_scene, size=size)
    if workers == 1 or len(seeds) < 2:
        yield from map(render, seeds)
        return
    # Spawned: forking a process that runs the threads of torch can hang.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(seeds))) as pool:
        yield from pool.imap(render, seeds, chunksize=16)


def _check(seed: int, size: int) -> None:
    if seed < 0:
        raise UsageError("seed", f"expected 0 or more, got {seed}", "give a non-negative seed")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(
            "size",
            f"expected {MIN_SIZE} to {MAX_SIZE} pixels, got {size}",
            "choose a size in that range",
        )


def _place(car: Car, sun: float, picture: Plane, alpha: Plane) -> None:
    """Draw the car into the picture (``3 h w``) and its coverage into alpha, in their own frame."""
    size = alpha.shape[0]
    unit = size / FRAME
    reach_x, reach_y = car.reach
    left, right = int((car.x - reach_x) * unit) - 1, int((car.x + reach_x) * unit) + 2
    top, bottom = int((car.y - reach_y) * unit) - 1, int((car.y + reach_y) * unit) + 2
    window = (slice(max(top, 0), min(bottom, size)), slice(max(left, 0), min(right, size)))
    step = 1 / (unit * SUPERSAMPLE)
    painted, wheels = silhouette(car, *_car_frame(car, window, step, SUPERSAMPLE))
    fine: Plane = np.clip(np.float32(0.5) - np.minimum(painted, wheels) / np.float32(step), 0, 1)
    covered = _pool(fine[None], SUPERSAMPLE // PAINT_SUPERSAMPLE)
    step = 1 / (unit * PAINT_SUPERSAMPLE)
    u, v = _car_frame(car, window, step, PAINT_SUPERSAMPLE)
    colour = paint_car(car, u, v, step, float(np.sin(sun - car.angle)))
    alpha[window] = _pool(covered, PAINT_SUPERSAMPLE)[0]
    picture[:, *window] *= 1 - alpha[window]
    picture[:, *window] += _pool(colour * covered, PAINT_SUPERSAMPLE)


def _car_frame(
    car: Car, window: tuple[slice, slice], step: float, per_pixel: int
) -> tuple[Plane, Plane]:
    """Car coordinates (u, v) of the cells of a window of pixels, ``step`` apart."""
    rows, columns = window
    x = (np.arange(columns.start * per_pixel, columns.stop * per_pixel) + 0.5) * step - car.x
    y = (np.arange(rows.start * per_pixel, rows.stop * per_pixel) + 0.5) * step - car.y
    return _turn(car.angle, x, y)


def _turn(angle: float, x: NDArray[Any], y: NDArray[Any]) -> tuple[Plane, Plane]:
    cos, sin = np.cos(angle), np.sin(angle)
    u = (cos * x)[None, :] + (sin * y)[:, None]
    v = (-sin * x)[None, :] + (cos * y)[:, None]
    return u.astype(np.float32), v.astype(np.float32)


def _pool(planes: Plane, factor: int) -> Plane:
    """Box filter, ``c h w`` to ``c h/factor w/factor``."""
    cells = sum(planes[:, i::factor, j::factor] for i in range(factor) for j in range(factor))
    return np.asarray(cells, np.float32) * np.float32(1 / factor**2)


def _shadow(car: Car, sun: float, drop: float, strength: float, size: int) -> Plane:
    """Darkening of the ground, ``h w`` in [0, 1]: a soft cast shadow and a close one all round.

    ``sun`` is the clockwise angle from straight up to the sun, ``drop`` how far the shadow falls.
    """
    at = (np.arange(size) + 0.5) * (FRAME / size)
    half_u, half_v, radius = car.width / 2, car.length / 2, car.tail_radius

    def fade(dx: float, dy: float, blur: float) -> Plane:
        u, v = _turn(car.angle, at - car.x - dx, at - car.y - dy)
        distance = rounded_box(np.abs(u), v, 0.0, 0.0, half_u, half_v, radius)
        ramp = np.clip(np.float32(0.5) - distance / np.float32(2 * blur), 0, 1)
        soft: Plane = ramp * ramp * (3 - 2 * ramp)
        return soft

    cast = fade(-drop * np.sin(sun), drop * np.cos(sun), 1.6) * np.float32(strength)
    close = fade(0.0, 0.0, 1.8) * np.float32(0.28)
    shade: Plane = np.maximum(cast, close)
    return shade
