"""The toy car: its random measures, its silhouette as a distance field, its paint.

The car points up. In its own frame ``u`` runs to its right and ``v`` to its rear, both in scene
units (one pixel of a 64 px render) from its centre. It is symmetric, so shapes take ``abs(u)``.
"""

import colorsys
from dataclasses import dataclass
from functools import partial

import numpy as np

from l4f_datagen.toys.shapes import (
    FRAME,
    Colour,
    Plane,
    column,
    draw_contrasting,
    lift,
    paint,
    rounded_box,
    segment,
    upright_box,
)

MARGIN = 2.0
"""Smallest distance of the car from the border, scene units."""
MAX_ANGLE = np.deg2rad(20.0)  # a choice, as are the colours
MIRROR_REACH = 1.9
"""How far the mirrors, the widest part, stand out from the body, scene units."""
RUBBER: Colour = (0.07, 0.07, 0.08)
HEADLIGHT: Colour = (1.0, 0.97, 0.78)
TAIL_LIGHT: Colour = (0.86, 0.07, 0.06)


@dataclass(frozen=True)
class Car:
    """One car. Lengths in scene units, angles in radians, colours RGB in [0, 1]."""

    x: float  # centre from the left border
    y: float  # centre from the top border
    angle: float  # clockwise turn from straight up
    width: float  # body without wheels and mirrors
    length: float  # body, bumper to bumper
    nose_radius: float  # corner radius at the front
    tail_radius: float  # corner radius at the rear
    wheel_out: float  # how far the wheels stick out of the body
    front_axle: float  # ``v`` of the front wheels (negative)
    rear_axle: float  # ``v`` of the rear wheels
    cabin_front: float  # ``v`` of the foot of the windscreen
    cabin_rear: float  # ``v`` of the foot of the rear window
    screen: float  # length of the windscreen
    rear_screen: float  # length of the rear window
    paint: Colour  # body colour
    roof_paint: Colour  # roof colour, mostly that of the body
    glass: Colour  # window colour
    stripe_paint: Colour  # colour of the racing stripes
    stripes: int  # 0, 1 (broad, in the middle) or 2 (a pair)

    @property
    def mirror(self) -> tuple[float, float, float, float, float]:
        """Right mirror as a rounded box: centre u, centre v, half width, half length, radius."""
        half = 1.3
        centre = self.width / 2 + MIRROR_REACH - half
        return centre, self.cabin_front + 2.0, half, 0.8, 0.6

    @property
    def reach(self) -> tuple[float, float]:
        """Half the width and height of an upright box around the car, scene units."""
        return upright_box(self.width / 2 + MIRROR_REACH, self.length / 2, self.angle)

    def outline(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to all of the car; car frame."""
        side = np.abs(u)
        front, rear = (rounded_box(side, v, *wheel) for wheel in self.wheels)
        return np.minimum(self.painted(u, v), np.minimum(front, rear))

    def painted(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to body and mirrors; car frame."""
        side = np.abs(u)
        radius = np.where(v < 0, np.float32(self.nose_radius), np.float32(self.tail_radius))
        body = rounded_box(side, v, 0.0, 0.0, self.width / 2, self.length / 2, radius)
        return np.minimum(body, rounded_box(side, v, *self.mirror))

    def footprint(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the body alone, which casts the shadow; car frame."""
        half_u, half_v = self.width / 2, self.length / 2
        return rounded_box(np.abs(u), v, 0.0, 0.0, half_u, half_v, self.tail_radius)

    def colours(self, u: Plane, v: Plane, step: float, sun_u: float) -> Plane:
        """Paint the car, ``3 h w`` in [0, 1], outside it too; car frame.

        ``step`` is the distance between points, the width of an edge; ``sun_u`` says how far the
        sun is to the right of the car, -1 to 1.
        """
        side = np.abs(u)
        half = self.width / 2
        painted = self.painted(u, v)
        canvas = np.empty((3, *u.shape), np.float32)
        canvas[:] = column(RUBBER)
        lay = partial(paint, canvas, step)
        # Body: darker towards the sides, lighter on the side of the sun.
        rounding = np.clip(painted * np.float32(-1 / 2.6), 0, 1)
        light = 0.66 + 0.34 * rounding + (0.10 * sun_u / half) * u
        lay(lift(self.paint, 0.03) * light.astype(np.float32), painted)
        body_top = painted + np.float32(1.0)
        # Bonnet and boot: the shut lines.
        nose, reach = (self.cabin_front + end * self.length / 2 for end in (-1, 1))
        bonnet = rounded_box(side, v, 0.0, nose / 2 + 0.9, half - 2.6, reach / 2 - 1.8, 2.0)
        lay(lift(self.paint, 0.10, 1.08), bonnet, 0.75)
        lay(lift(self.paint, -0.05, 0.6), np.abs(bonnet) - np.float32(0.3), 0.6)
        centre, broad = (0.0, 0.12 * self.width) if self.stripes == 1 else (0.13 * self.width, 1.1)
        stripes = np.abs(side - np.float32(centre)) - np.float32(broad)
        if self.stripes:
            lay(self.stripe_paint, np.maximum(stripes, body_top))
        # Cabin: glass all over, the roof and its pillars on top.
        front, rear = self.cabin_front, self.cabin_rear
        cabin = rounded_box(side, v, 0.0, (front + rear) / 2, half - 1.5, (rear - front) / 2, 2.6)
        lay(lift(self.paint, -0.04, 0.55), cabin - 0.5, 0.8)
        sheen = np.clip((self.cabin_front + self.screen - v) / self.screen, 0, 1) * np.float32(0.22)
        lay(column(self.glass) + sheen, cabin)
        roof_front, roof_rear = front + self.screen, rear - self.rear_screen
        roof_mid, roof_reach = (roof_front + roof_rear) / 2, (roof_rear - roof_front) / 2
        roof_half = half - 3.9
        pillar = lift(self.roof_paint, 0.0, 0.85)
        for top, foot in ((roof_front + 0.8, front), (roof_rear - 0.8, rear)):
            lay(pillar, segment(side, v, (roof_half - 0.8, top), (half - 2, foot)))
        lay(pillar, rounded_box(side, v, half - 2.8, roof_mid + 0.6, 1.3, 0.5, 0.1))
        roof = rounded_box(side, v, 0.0, roof_mid, roof_half, roof_reach, 2.0)
        roof_light = 0.84 + 0.24 * np.clip(roof * np.float32(-1 / 1.8), 0, 1)
        roof_colour = lift(self.roof_paint, 0.06) * roof_light.astype(np.float32)
        lay(roof_colour, roof)
        if self.stripes and self.roof_paint == self.paint:
            lay(self.stripe_paint, np.maximum(stripes, roof + np.float32(0.2)))
        # Lamps.
        lamp = half * 0.64
        head = rounded_box(side, v, lamp, 1.9 - self.length / 2, half * 0.21, 1.2, 0.9)
        lay(HEADLIGHT, np.maximum(head, painted + np.float32(0.25)))
        tail = rounded_box(side, v, lamp, self.length / 2 - 1.4, half * 0.24, 0.95, 0.5)
        lay(TAIL_LIGHT, np.maximum(tail, painted + np.float32(0.15)))
        return canvas

    @property
    def wheels(self) -> tuple[tuple[float, float, float, float, float], ...]:
        """Right wheels as rounded boxes, front then rear; as ``mirror``."""
        u = self.width / 2 + self.wheel_out - 1.5
        return tuple((u, v, 1.5, 3.2, 0.6) for v in (self.front_axle, self.rear_axle))


def draw_car(rng: np.random.Generator, ground: Colour) -> Car:
    """Draw a car that lies inside the frame and whose paint differs from the ground.

    Ranges were chosen by eye, so that cars vary and cover 17 to 33 % of the frame.
    """
    length = rng.uniform(41, 52)
    width = float(np.clip(length * rng.uniform(0.44, 0.52), 18.5, 24.5))
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE)
    reach_x, reach_y = upright_box(width / 2 + MIRROR_REACH, length / 2, angle)
    play_x, play_y = FRAME / 2 - MARGIN - reach_x, FRAME / 2 - MARGIN - reach_y
    (paint,) = draw_contrasting(lambda: _draw_paint(rng), ground)
    bright = sum(paint) > 1.5
    other_roof = (0.1, 0.1, 0.11) if bright else (0.95, 0.95, 0.94)
    tone = rng.uniform(0.10, 0.2)
    return Car(
        x=FRAME / 2 + rng.uniform(-1, 1) * min(play_x, 10.0),
        y=FRAME / 2 + rng.uniform(-1, 1) * play_y,
        angle=angle,
        width=width,
        length=length,
        nose_radius=rng.uniform(0.24, 0.36) * width,
        tail_radius=rng.uniform(0.16, 0.28) * width,
        wheel_out=rng.uniform(0.9, 1.4),
        front_axle=-rng.uniform(0.28, 0.32) * length,
        rear_axle=rng.uniform(0.27, 0.32) * length,
        cabin_front=-rng.uniform(0.17, 0.25) * length,
        cabin_rear=rng.uniform(0.27, 0.44) * length,
        screen=rng.uniform(0.10, 0.13) * length,
        rear_screen=rng.uniform(0.07, 0.10) * length,
        paint=paint,
        roof_paint=other_roof if rng.uniform() < 0.12 else paint,
        glass=(0.8 * tone, tone, 1.3 * tone),
        stripe_paint=(0.12, 0.12, 0.13) if bright else (0.95, 0.95, 0.92),
        stripes=int(rng.choice(3, p=(0.72, 0.12, 0.16))),
    )


def _draw_paint(rng: np.random.Generator) -> tuple[Colour]:
    """White, black, grey, pastel or vivid."""
    family = rng.choice(5, p=(0.13, 0.09, 0.14, 0.12, 0.52))
    hue, a, b = rng.uniform(0, 1, 3)
    hsv = (
        (0.6, 0.03 * a, 0.92 + 0.06 * b),
        (0.62, 0.15 * a, 0.13 + 0.07 * b),
        (0.6, 0.10 * a, 0.45 + 0.35 * b),
        (hue, 0.25 + 0.2 * a, 0.80 + 0.15 * b),
        (hue, 0.72 + 0.23 * a, 0.60 + 0.35 * b),
    )[family]
    return (colorsys.hsv_to_rgb(*hsv),)
