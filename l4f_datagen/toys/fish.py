"""The toy fish: a koi seen from above, its bent body and fins as distance fields, its patches.

The fish points up. In its own frame ``u`` runs to its right and ``v`` to its tail, both in scene
units (one pixel of a 64 px render) from the middle of its body.
"""

import colorsys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from l4f_datagen.toys.shapes import (
    FRAME,
    Colour,
    Plane,
    column,
    draw_contrasting,
    ellipse,
    lift,
    paint,
    upright_box,
)

MARGIN = 2.0
"""Distance of the fish from the border, scene units; the largest, most bent ones come nearer."""
MAX_TURN = np.deg2rad(35.0)
"""Largest turn of the heading from straight left or right."""
FIN_SHARE = 0.62
"""Brightness of a fin relative to the body."""
EYE: Colour = (0.06, 0.06, 0.08)  # a choice


@dataclass(frozen=True)
class Fish:
    """One fish. Lengths in scene units, angles in radians, colours RGB in [0, 1]."""

    x: float  # middle of the body from the left border
    y: float  # middle of the body from the top border
    angle: float  # heading, clockwise from straight up
    length: float  # body from nose to the root of the tail fin
    width: float  # body at its widest
    bend: float  # sideways swing of the tail's root
    tail: float  # length of the tail fin
    fin: float  # length of a pectoral fin
    paint: Colour  # body colour
    patch_paint: Colour  # colour of the patches
    patches: tuple[tuple[float, float, float], ...]  # centre's ``v`` and ``u``, radius of each

    @property
    def reach(self) -> tuple[float, float]:
        """Half the width and height of an upright box around the fish, scene units."""
        half_v, bend = self.length / 2 + self.tail, abs(self.bend)
        tail_u = 0.7 + 0.62 * self.tail + bend * (0.5 + half_v / self.length) ** 2
        return upright_box(max(0.42 * self.width + 0.8 * self.fin, tail_u), half_v, self.angle)

    def outline(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to body and fins; its own frame."""
        fins = np.minimum(self.pectorals(u, v), self.tail_fin(u, v))
        return np.minimum(self.footprint(u, v), fins)

    def footprint(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the body, to first order; its own frame."""
        along = np.clip(v / np.float32(self.length) + np.float32(0.5), 0, 1)
        # Blunt at the nose, widest at a third, slim at the root of the tail.
        head = np.sqrt(np.clip(1 - ((along - 0.34) / 0.34) ** 2, 0, 1))
        rear = 0.22 + 0.78 * np.cos(np.clip((along - 0.34) / 0.66, 0, 1) * (np.pi / 2)) ** 1.3
        profile = np.where(along < np.float32(0.34), head, rear).astype(np.float32)
        half = np.float32(self.width / 2) * profile
        off = np.abs(u - self.spine(v))
        beyond = np.abs(v) - np.float32(self.length / 2)
        sides = (off - half) * np.float32(0.93)  # the sides slope: a little nearer than across
        ends = np.hypot(np.maximum(off - half, 0), np.maximum(beyond, 0))
        distance: Plane = np.where(beyond > 0, ends, np.maximum(sides, beyond))
        return np.asarray(distance, np.float32)

    def spine(self, v: Plane) -> Plane:
        """Sideways position of the spine at each ``v``: straight head, swinging tail."""
        along = v / np.float32(self.length) + np.float32(0.5)
        swing: Plane = np.float32(self.bend) * np.maximum(along, 0) ** 2
        return swing

    def tail_fin(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the tail fin, a forked fan, to first order."""
        from_root = v - np.float32(self.length / 2 - 1.5)
        share = np.clip(from_root / np.float32(self.tail + 1.5), 0, 1.2)
        half = np.float32(0.7) + np.float32(0.62 * self.tail) * share
        off = np.abs(u - self.spine(v))
        fork = from_root - np.float32(self.tail + 1.5) * (np.float32(0.62) + 0.38 * off / half)
        distance: Plane = np.maximum(np.maximum((off - half) * np.float32(0.85), fork), -from_root)
        return np.asarray(distance, np.float32)

    def pectorals(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the pair of pectoral fins, ellipses swept back, to first order."""
        side = np.abs(u - self.spine(v))
        du = side - np.float32(0.42 * self.width + 0.35 * self.fin)
        dv = v - np.float32(-0.14 * self.length + 0.38 * self.fin)
        cos, sin = np.float32(np.cos(0.85)), np.float32(np.sin(0.85))
        return ellipse(cos * dv + sin * du, cos * du - sin * dv, self.fin / 2, self.fin / 4)

    def colours(self, u: Plane, v: Plane, step: float, sun_u: float) -> Plane:
        """Paint the fish, ``3 h w`` in [0, 1]; arguments as ``Car.colours``."""
        canvas = np.empty((3, *u.shape), np.float32)
        lay = partial(paint, canvas, step)
        off = u - self.spine(v)
        canvas[:] = lift(self.paint, 0.05, FIN_SHARE)
        canvas += np.float32(0.06) * np.sin(np.arctan2(off, v) * 26)  # rays
        body = self.footprint(u, v)
        rounding = np.clip(body * np.float32(-2 / self.width), 0, 1)
        light = 0.70 + 0.34 * np.sqrt(rounding) + (0.14 * sun_u / self.width) * off
        skin = np.empty_like(canvas)
        skin[:] = column(self.paint)
        for centre_v, centre_u, radius in self.patches:
            patch = np.hypot(v - np.float32(centre_v), off - np.float32(centre_u)) - radius
            paint(skin, max(step, 0.8), self.patch_paint, patch)
        lay(skin * light.astype(np.float32), body)
        crest = np.abs(off) - np.float32(0.35)
        along = np.abs(v - np.float32(0.06 * self.length)) - np.float32(0.2 * self.length)
        lay(lift(self.paint, 0, 0.6), np.maximum(crest, along), 0.6)
        eye_v, eye_u = -0.36 * self.length, 0.26 * self.width
        eye = np.hypot(v - np.float32(eye_v), np.abs(off) - np.float32(eye_u)) - np.float32(0.62)
        lay(EYE, eye)
        np.clip(canvas, 0, 1, out=canvas)
        return canvas


def draw_fish(rng: np.random.Generator, water: Colour) -> Fish:
    """Draw a fish that lies inside the frame and whose colours differ from the water.

    Ranges were chosen by eye, so that fish vary and cover 5 to 10 % of the frame.
    """
    length = rng.uniform(28, 34)
    width = length * rng.uniform(0.31, 0.37)
    tail, fin = length * rng.uniform(0.24, 0.30), length * rng.uniform(0.22, 0.28)
    bend = rng.uniform(-0.16, 0.16) * length
    heading = np.pi / 2 if rng.uniform() < 0.5 else -np.pi / 2
    angle = heading + rng.uniform(-MAX_TURN, MAX_TURN)
    coat = draw_contrasting(lambda: _draw_coat(rng), water)

    def patch() -> tuple[float, float, float]:
        along, across, size = rng.uniform((-0.42, -0.3, 0.12), (0.4, 0.3, 0.34))
        return float(along * length), float(across * width), float(size * width)

    patches = tuple(patch() for _ in range(int(rng.integers(0, 5))))
    middle = FRAME / 2
    fish = Fish(middle, middle, angle, length, width, bend, tail, fin, *coat, patches)
    reach_x, reach_y = fish.reach
    play_x, play_y = middle - MARGIN - reach_x, middle - MARGIN - reach_y
    x = middle + rng.uniform(-1, 1) * min(play_x, 9.0)
    return replace(fish, x=x, y=middle + rng.uniform(-1, 1) * min(play_y, 12.0))


def _draw_coat(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """White, gold or orange, with patches of another colour."""
    a, b, c, d = rng.uniform(0, 1, 4)
    white = colorsys.hsv_to_rgb(0.1, 0.08 * a, 0.90 + 0.08 * b)
    orange = colorsys.hsv_to_rgb(0.02 + 0.05 * a, 0.82 + 0.13 * b, 0.85 + 0.12 * c)
    gold = colorsys.hsv_to_rgb(0.11 + 0.03 * a, 0.70 + 0.2 * b, 0.88 + 0.1 * c)
    black = colorsys.hsv_to_rgb(0.6, 0.2 * a, 0.10 + 0.08 * b)
    coats = ((white, orange), (orange, white), (gold, orange), (white, black), (orange, black))
    return coats[min(int(d * len(coats)), len(coats) - 1)]
