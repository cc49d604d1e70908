"""Drawing tools of the toy objects: signed distances, negative inside, and paint by coverage."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FRAME = 64.0  # side of the frame in scene units: one unit is one pixel of a 64 px render
CONTRAST = 0.42  # distance in RGB at which an object stands out from its ground, chosen by eye

Colour = tuple[float, float, float]
Coat = TypeVar("Coat", bound=tuple[Colour, ...])
Plane = NDArray[np.float32]


def draw_contrasting(draw: Callable[[], Coat], ground: Colour) -> Coat:
    """Return the first of 8 draws whose first colour stands out from the ground, or the best."""

    def contrast(coat: Coat) -> float:
        return float(np.linalg.norm(np.subtract(coat[0], ground)))

    coats: list[Coat] = []
    while len(coats) < 8 and not (coats and contrast(coats[-1]) > CONTRAST):
        coats.append(draw())
    return max(coats, key=contrast)


def rounded_box(
    u: Plane,
    v: Plane,
    centre_u: float,
    centre_v: float,
    half_u: float,
    half_v: float,
    radius: float | Plane,
) -> Plane:
    """Exact signed distance to a box with rounded corners, negative inside; shape of ``u``."""
    du = np.abs(u - np.float32(centre_u)) + (np.float32(-half_u) + radius)
    dv = np.abs(v - np.float32(centre_v)) + (np.float32(-half_v) + radius)
    out_u, out_v = np.maximum(du, 0), np.maximum(dv, 0)
    distance = np.sqrt(out_u * out_u + out_v * out_v) + np.minimum(np.maximum(du, dv), 0) - radius
    return np.asarray(distance, np.float32)


def ellipse(u: Plane, v: Plane, half_u: float, half_v: float) -> Plane:
    """Signed distance to an ellipse around the origin, to first order."""
    a, b = u / np.float32(half_u), v / np.float32(half_v)
    radius = np.sqrt(a * a + b * b)
    slope = np.sqrt((a / half_u) ** 2 + (b / half_v) ** 2) / np.maximum(radius, 1e-3)
    return np.asarray((radius - 1) / np.maximum(slope, 1 / max(half_u, half_v)), np.float32)


def segment(
    u: Plane, v: Plane, start: tuple[float, float], end: tuple[float, float], half: float = 0.45
) -> Plane:
    """Signed distance to a line segment of half width ``half``."""
    du, dv = end[0] - start[0], end[1] - start[1]
    from_u, from_v = u - np.float32(start[0]), v - np.float32(start[1])
    share = np.clip((from_u * np.float32(du) + from_v * np.float32(dv)) / (du * du + dv * dv), 0, 1)
    off_u, off_v = from_u - share * np.float32(du), from_v - share * np.float32(dv)
    distance: Plane = np.sqrt(off_u * off_u + off_v * off_v) - np.float32(half)
    return distance


def turned(angle: float, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return places (x, y) as seen from a frame that is turned clockwise by the angle."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def upright_box(half_u: float, half_v: float, angle: float) -> tuple[float, float]:
    """Half the width and height of the upright box around a turned one."""
    cos, sin = abs(float(np.cos(angle))), abs(float(np.sin(angle)))
    return cos * half_u + sin * half_v, cos * half_v + sin * half_u


def lift(colour: Colour, add: float, times: float = 1.0) -> Plane:
    """Scale and brighten a colour, clamped; ``3 1 1``."""
    lifted: Plane = np.clip(column(colour) * np.float32(times) + np.float32(add), 0, 1)
    return lifted


def column(colour: Colour) -> Plane:
    """Turn a colour into ``3 1 1``."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def paint(
    canvas: Plane, step: float, colour: Colour | Plane, distance: Plane, opacity: float = 1.0
) -> None:
    """Paint over the canvas ``3 h w``, in place, where a signed distance covers its cells.

    ``step`` is the width of a cell; the colour is one, or ``3 h w``.
    """
    colour = column(colour) if isinstance(colour, tuple) else colour
    covered = np.clip(np.float32(0.5) - distance * np.float32(1 / step), 0, 1)
    canvas += (colour - canvas) * (covered * np.float32(opacity))
