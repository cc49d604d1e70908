"""What cars, fish and portraits cover, without distances: points in shapes, and polygons."""

import numpy as np
from skimage.draw import polygon

from l4f_datagen.toys.car import Car
from l4f_datagen.toys.fish import Fish
from l4f_datagen.toys.portrait import Portrait

FINE = 16
"""Points by pixel and axis."""


def in_box(u, v, centre_u, centre_v, half_u, half_v, radius):
    """Even-handed point test, no distances: a cross of two boxes and four discs."""
    du, dv = np.abs(u - centre_u), np.abs(v - centre_v)
    cross = ((du <= half_u - radius) & (dv <= half_v)) | ((du <= half_u) & (dv <= half_v - radius))
    return cross | ((du - half_u + radius) ** 2 + (dv - half_v + radius) ** 2 <= radius**2)


def own_frame(one, size):
    at = (np.arange(size * FINE) + 0.5) * 64 / (size * FINE)
    x, y = np.meshgrid(at - one.x, at - one.y)
    turned = np.exp(-1j * one.angle) * (x + 1j * y)
    return turned.real, turned.imag


def points_in_car(car: Car, size: int) -> np.ndarray:
    """Body, mirrors and wheels."""
    u, v = own_frame(car, size)
    radius = np.where(v > 0, car.tail_radius, car.nose_radius)
    inside = in_box(u, v, 0.0, 0.0, car.width / 2, car.length / 2, radius)
    for part in (car.mirror, *car.wheels):
        inside |= in_box(np.abs(u), v, *part)
    return inside


def points_in_portrait(one: Portrait, size: int) -> np.ndarray:
    """Hair, face, neck and shoulders."""
    u, v = own_frame(one, size)
    wide, top = one.face_width + one.sides, -0.4 * one.face_height
    cap_height = one.face_height + one.crown / 2
    inside = (u / one.face_width) ** 2 + (v / one.face_height) ** 2 <= 1
    cap = (u / wide) ** 2 + ((v + one.crown / 2 + 1) / cap_height) ** 2 <= 1
    inside |= cap & (v <= one.hair_end)
    boxes = (  # half width, top, bottom, radius
        (0.97 * wide, top, one.hair_end, min(5.0, (one.hair_end - top) / 2)),
        (one.neck, 0, one.shoulder_top + 3, 1),
        (one.shoulders, one.shoulder_top, one.shoulder_top + 120, 0.55 * one.shoulders),
    )
    for half_u, above, below, radius in boxes:
        inside |= in_box(u, v, 0, (above + below) / 2, half_u, (below - above) / 2, radius)
    return inside


def rings(fish: Fish) -> list[np.ndarray]:
    """Body, tail fin and the two pectorals as polygons ``n 2`` (u, v), no distances."""
    spine = fish.bend * np.maximum(np.linspace(0, 1, 400), 0) ** 2
    along = np.linspace(0, 1, 400)
    head = np.sqrt(np.maximum(1 - (1 - along / 0.34) ** 2, 0))
    rear = 0.22 + 0.78 * np.cos((along - 0.34) / 0.66 * np.pi / 2).clip(0) ** 1.3
    half = fish.width / 2 * np.where(along < 0.34, head, rear)
    v = (along - 0.5) * fish.length
    body = [np.concatenate([spine - half, (spine + half)[::-1]]), np.concatenate([v, v[::-1]])]

    reach = fish.tail + 1.5
    share = np.concatenate([[0.0], np.linspace(0.62, 1, 100)[::-1]])  # out along the edge, back
    width = 0.7 + 0.62 * fish.tail * share
    off = np.concatenate([width[:2], width[2:] * (share[2:] - 0.62) / 0.38])  # along the fork
    tail_v = np.concatenate([share, share[::-1]]) * reach + fish.length / 2 - 1.5
    tail_u = np.concatenate([off, -off[::-1]])
    swing = fish.bend * (tail_v / fish.length + 0.5) ** 2
    parts = [body, [tail_u + swing, tail_v]]

    turn = np.linspace(0, 2 * np.pi, 200)
    a, b = fish.fin / 2 * np.cos(turn), fish.fin / 4 * np.sin(turn)
    out_u = 0.42 * fish.width + 0.35 * fish.fin + np.sin(0.85) * a + np.cos(0.85) * b
    fin_v = -0.14 * fish.length + 0.38 * fish.fin + np.cos(0.85) * a - np.sin(0.85) * b
    fin_swing = fish.bend * (fin_v / fish.length + 0.5) ** 2
    parts += [[fin_swing + side * out_u, fin_v] for side in (-1, 1)]
    return [np.stack(part, axis=1) for part in parts]


def in_frame(fish: Fish, ring: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(fish.angle), np.sin(fish.angle)
    u, v = ring.T
    return np.stack([fish.x + cos * u - sin * v, fish.y + sin * u + cos * v], axis=1)


def points_in_fish(fish: Fish, size: int) -> np.ndarray:
    """Filled polygons, by another library."""
    canvas = np.zeros((size * FINE, size * FINE), bool)
    for ring in rings(fish):
        columns, rows = in_frame(fish, ring).T * (size * FINE / 64) - 0.5
        canvas[polygon(rows, columns, canvas.shape)] = True
    return canvas
