"""Drawing tools of the toy objects: signed distances, negative inside, and paint by coverage."""

import numpy as np
from numpy.typing import NDArray

from l4f_datagen.toys.ground import Colour

Plane = NDArray[np.float32]


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


def upright_box(half_u: float, half_v: float, angle: float) -> tuple[float, float]:
    """Half the width and height of the upright box around a turned one."""
    cos, sin = abs(float(np.cos(angle))), abs(float(np.sin(angle)))
    return cos * half_u + sin * half_v, cos * half_v + sin * half_u


def lift(colour: Colour, add: float, times: float = 1.0) -> Plane:
    """Scale and brighten a colour, clamped; ``3 1 1``."""
    lifted: Plane = np.clip(column(colour) * np.float32(times) + np.float32(add), 0, 1)
    return lifted


def column(colour: Colour | Plane) -> Plane:
    """Turn a colour into ``3 1 1``."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def cover(distance: Plane, step: float) -> Plane:
    """Turn a signed distance into the covered share of a cell ``step`` wide."""
    covered: Plane = np.clip(np.float32(0.5) - distance * np.float32(1 / step), 0, 1)
    return covered


def blend(canvas: Plane, colour: Plane, opacity: Plane) -> None:
    """Paint a colour over the canvas ``3 h w``, in place."""
    canvas += (colour - canvas) * opacity
