"""The toy portrait: head and shoulders before a wall, most of the frame.

In its own frame ``u`` runs to the right and ``v`` down, both in scene units (one pixel of a 64 px
render) from the middle of the face. The shoulders go on below the frame.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
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
    rounded_box,
)

MAX_TILT = np.deg2rad(8.0)
"""Largest tilt of the head and shoulders, a choice."""
BELOW = 60.0
"""Half the height of the shoulders' box: it ends below the frame, however they are placed."""
EYE: Colour = (0.07, 0.06, 0.07)  # a choice
SKINS: tuple[Colour, Colour] = ((0.36, 0.22, 0.15), (0.95, 0.78, 0.67))
"""Darkest and lightest skin; all between are drawn, a choice."""


@dataclass(frozen=True)
class Portrait:
    """One portrait. Lengths in scene units, angles in radians, colours RGB in [0, 1]."""

    x: float  # middle of the face from the left border
    y: float  # middle of the face from the top border
    angle: float  # tilt, clockwise from upright
    face_width: float  # half the face
    face_height: float  # half the face
    crown: float  # height of the hair above the face
    sides: float  # hair beside the face
    hair_end: float  # how far the hair falls, its ``v``
    hairline: float  # where the forehead begins, its ``v``
    neck: float  # half the neck's width
    shoulder_top: float  # the shoulders' ``v``
    shoulders: float  # half their width
    skin: Colour
    hair_paint: Colour
    shirt: Colour

    @property
    def reach(self) -> tuple[float, float]:
        """Half the width and height of an upright box around what the frame shows."""
        return FRAME, FRAME

    def outline(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to hair, face, neck and shoulders, to first order; its own frame."""
        head: Plane = np.minimum(self.hair(u, v), self.face(u, v))
        return np.minimum(head, np.minimum(self.throat(u, v), self.torso(u, v)))

    footprint = outline
    """What casts the shadow: all of it."""

    def face(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the face, an ellipse."""
        return ellipse(u, v, self.face_width, self.face_height)

    def hair(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the hair: a cap, and what falls beside the face."""
        width = self.face_width + self.sides
        height = (2 * self.face_height + self.crown) / 2
        cap = ellipse(u, v + np.float32(self.crown / 2 + 1), width, height)
        half = (self.hair_end + 0.4 * self.face_height) / 2
        fall = rounded_box(u, v, 0, self.hair_end - half, width * 0.97, half, min(5.0, half))
        cap_above = np.maximum(cap, v - np.float32(self.hair_end))
        distance: Plane = np.minimum(cap_above, fall)
        return distance

    def throat(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the neck."""
        half = (self.shoulder_top + 3) / 2
        return rounded_box(u, v, 0, half, self.neck, half, 1.0)

    def torso(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the shoulders."""
        middle = self.shoulder_top + BELOW
        return rounded_box(u, v, 0, middle, self.shoulders, BELOW, 0.55 * self.shoulders)

    def colours(self, u: Plane, v: Plane, step: float, sun_u: float) -> Plane:
        """Paint the portrait, ``3 h w`` in [0, 1]; arguments as ``Car.colours``."""
        canvas = np.empty((3, *u.shape), np.float32)
        lay = partial(paint, canvas, step)
        strands = np.float32(0.05) * np.sin(u * np.float32(1.9) + np.float32(0.25) * v)
        width, height = self.face_width, self.face_height
        canvas[:] = column(self.hair_paint)
        canvas += strands + np.float32(0.02 * sun_u) * u / np.float32(width)
        fold = 0.90 + 0.10 * np.cos(u * np.float32(0.22)) + (0.006 * sun_u) * u
        lay(column(self.shirt) * fold.astype(np.float32), self.torso(u, v))
        collar = ellipse(u, v - np.float32(self.shoulder_top), self.neck * 1.35, 4.5)
        lay(lift(self.skin, 0, 0.86), collar)
        lay(lift(self.skin, 0, 0.80), self.throat(u, v))
        face = self.face(u, v)
        depth = np.clip(face * np.float32(-1 / width), 0, 1)
        light = 0.82 + 0.22 * np.sqrt(depth) + (0.008 * sun_u) * u
        lay(np.asarray(column(self.skin) * light.astype(np.float32), np.float32), face)
        across, eye_v = np.abs(u) - np.float32(0.42 * width), v + np.float32(0.08 * height)
        lay(lift((0.92, 0.91, 0.89), 0), ellipse(across, eye_v, 0.19 * width, 0.085 * height))
        lay(EYE, np.hypot(across, eye_v) - np.float32(0.085 * height))
        brow = ellipse(across, v + np.float32(0.26 * height), 0.24 * width, 0.045 * height)
        lay(lift(self.hair_paint, 0, 0.8), brow, 0.8)
        nose = ellipse(u, v - np.float32(0.22 * height), 0.13 * width, 0.10 * height)
        lay(lift(self.skin, 0, 0.78), nose, 0.7)
        mouth = ellipse(u, v - np.float32(0.52 * height), 0.33 * width, 0.075 * height)
        lay((0.62, 0.24, 0.24), mouth, 0.8)
        # The hairline falls towards the temples; hair lies above it.
        line = np.float32(self.hairline) + np.float32(0.55 / width) * u * u
        above = np.asarray((v - line) * np.float32(0.8), np.float32)
        lay(column(self.hair_paint) + strands, np.maximum(self.hair(u, v), above))
        np.clip(canvas, 0, 1, out=canvas)
        return canvas


def draw_portrait(rng: np.random.Generator, wall: Colour) -> Portrait:
    """Draw a portrait whose hair and shirt stand out from the wall.

    Ranges were chosen by eye, so that portraits vary and cover 55 to 75 % of the frame.
    """
    scale = rng.uniform(1.22, 1.38)
    width, height = scale * rng.uniform(12.6, 14.2), scale * rng.uniform(16.4, 18.4)
    long_hair = rng.uniform() < 0.5
    fall = rng.uniform(0.9, 1.5) if long_hair else rng.uniform(-0.05, 0.25)
    share = float(rng.uniform(0, 1))
    skin = np.add(np.multiply(SKINS[0], 1 - share), np.multiply(SKINS[1], share))
    (hair_paint,) = draw_contrasting(lambda: (_draw_hair(rng),), wall)
    lowest, highest = (0.0, 0.15, 0.25), (1.0, 0.85, 0.95)  # in HSV
    (shirt,) = draw_contrasting(lambda: (hsv_to_rgb(*rng.uniform(lowest, highest)),), wall)
    return Portrait(
        x=FRAME / 2 + rng.uniform(-3.0, 3.0),
        y=FRAME / 2 - rng.uniform(2.0, 5.0),
        angle=rng.uniform(-MAX_TILT, MAX_TILT),
        face_width=width,
        face_height=height,
        crown=scale * rng.uniform(2.0, 4.5),
        sides=scale * (rng.uniform(3.0, 6.0) if long_hair else rng.uniform(1.5, 3.5)),
        hair_end=fall * height,
        hairline=-rng.uniform(0.48, 0.66) * height,
        neck=width * rng.uniform(0.52, 0.62),
        shoulder_top=height * rng.uniform(1.02, 1.14),
        shoulders=scale * rng.uniform(26.0, 31.0),
        skin=(float(skin[0]), float(skin[1]), float(skin[2])),
        hair_paint=hair_paint,
        shirt=shirt,
    )


def _draw_hair(rng: np.random.Generator) -> Colour:
    """Black, brown, red, blond or grey."""
    a, b, c = rng.uniform(0, 1, 3)
    kinds = (
        hsv_to_rgb(0.07, 0.30 * a, 0.08 + 0.10 * b),
        hsv_to_rgb(0.06 + 0.02 * a, 0.60 + 0.15 * b, 0.24 + 0.18 * a),
        hsv_to_rgb(0.04, 0.70 + 0.15 * a, 0.45 + 0.20 * b),
        hsv_to_rgb(0.11, 0.45 + 0.20 * a, 0.72 + 0.18 * b),
        hsv_to_rgb(0.60, 0.06 * a, 0.55 + 0.25 * b),
    )
    return kinds[min(int(c * len(kinds)), len(kinds) - 1)]
