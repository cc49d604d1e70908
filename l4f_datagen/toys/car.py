"""The toy car: its drawn measures, its silhouette as a distance field, its paint.

The car points up. In its own frame ``u`` runs to its right and ``v`` to its rear, both in scene
units (one pixel of a 64 px render) from its centre. It is symmetric, so shapes take ``abs(u)``.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from l4f_datagen.toys.ground import Colour
from l4f_datagen.toys.shapes import Plane, blend, column, cover, lift, rounded_box, segment
from l4f_datagen.toys.texture import FRAME

MARGIN = 2.0
"""Least distance of the car from the border, scene units."""
MAX_ANGLE = np.deg2rad(20.0)
MIRROR_REACH = 1.9
"""How far the mirrors, the widest part, stand out from the body, scene units."""
RUBBER: Colour = (0.07, 0.07, 0.08)
HEADLIGHT: Colour = (1.0, 0.97, 0.78)
TAIL_LIGHT: Colour = (0.86, 0.07, 0.06)


@dataclass(frozen=True)
class Car:
    """One car. Lengths in scene units, angles in radians, colours RGB in [0, 1].

    Attributes:
        x: centre from the left border.
        y: centre from the top border.
        angle: clockwise turn from straight up.
        width: body without wheels and mirrors.
        length: body, bumper to bumper.
        nose_radius: corner radius at the front.
        tail_radius: corner radius at the rear.
        wheel_out: how far the wheels show beyond the body.
        front_axle: ``v`` of the front wheels (negative).
        rear_axle: ``v`` of the rear wheels.
        cabin_front: ``v`` of the foot of the windscreen.
        cabin_rear: ``v`` of the foot of the rear window.
        screen: length of the windscreen.
        rear_screen: length of the rear window.
        paint: body colour.
        roof_paint: roof colour, mostly that of the body.
        glass: window colour.
        stripe_paint: colour of the racing stripes.
        stripes: 0, 1 (broad, in the middle) or 2 (a pair).
    """

    x: float
    y: float
    angle: float
    width: float
    length: float
    nose_radius: float
    tail_radius: float
    wheel_out: float
    front_axle: float
    rear_axle: float
    cabin_front: float
    cabin_rear: float
    screen: float
    rear_screen: float
    paint: Colour
    roof_paint: Colour
    glass: Colour
    stripe_paint: Colour
    stripes: int

    @property
    def mirror(self) -> tuple[float, float, float, float, float]:
        """Right mirror as a rounded box: centre u, centre v, half width, half length, radius."""
        half = 1.3
        centre = self.width / 2 + MIRROR_REACH - half
        return centre, self.cabin_front + 2.0, half, 0.8, 0.6

    @property
    def reach(self) -> tuple[float, float]:
        """Half the width and height of an upright box around the car, scene units."""
        return _reach(self.width, self.length, self.angle)

    def outline(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to all of the car; car frame."""
        return np.minimum(*silhouette(self, u, v))

    def footprint(self, u: Plane, v: Plane) -> Plane:
        """Signed distance to the body alone, which casts the shadow; car frame."""
        half_u, half_v = self.width / 2, self.length / 2
        return rounded_box(np.abs(u), v, 0.0, 0.0, half_u, half_v, self.tail_radius)

    def colours(self, u: Plane, v: Plane, step: float, sun_u: float) -> Plane:
        """Paint it, see ``paint_car``."""
        return paint_car(self, u, v, step, sun_u)

    @property
    def wheels(self) -> tuple[tuple[float, float, float, float, float], ...]:
        """Right wheels as rounded boxes, front then rear; as ``mirror``."""
        u = self.width / 2 + self.wheel_out - 1.5
        return tuple((u, v, 1.5, 3.2, 0.6) for v in (self.front_axle, self.rear_axle))


def draw_car(rng: np.random.Generator, ground: Colour) -> Car:
    """Draw a car that lies wholly inside the frame and whose paint differs from the ground."""
    length = rng.uniform(41, 52)
    width = float(np.clip(length * rng.uniform(0.44, 0.52), 18.5, 24.5))
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE)
    reach_x, reach_y = _reach(width, length, angle)
    play_x, play_y = FRAME / 2 - MARGIN - reach_x, FRAME / 2 - MARGIN - reach_y
    paint = _draw_paint(rng, ground)
    bright = sum(paint) > 1.5
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
        roof_paint=_either(
            rng, 0.12, (0.95, 0.95, 0.94) if not bright else (0.1, 0.1, 0.11), paint
        ),
        glass=(0.8 * tone, tone, 1.3 * tone),
        stripe_paint=(0.12, 0.12, 0.13) if bright else (0.95, 0.95, 0.92),
        stripes=int(rng.choice(3, p=(0.72, 0.12, 0.16))),
    )


def _reach(width: float, length: float, angle: float) -> tuple[float, float]:
    cos, sin = float(np.cos(angle)), abs(float(np.sin(angle)))
    half_u, half_v = width / 2 + MIRROR_REACH, length / 2
    return cos * half_u + sin * half_v, cos * half_v + sin * half_u


def silhouette(car: Car, u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Signed distances, negative inside: of painted parts (body, mirrors) and of the wheels."""
    side = np.abs(u)
    radius = np.where(v < 0, np.float32(car.nose_radius), np.float32(car.tail_radius))
    body = rounded_box(side, v, 0.0, 0.0, car.width / 2, car.length / 2, radius)
    painted = np.minimum(body, rounded_box(side, v, *car.mirror))
    front, rear = car.wheels
    return painted, np.minimum(rounded_box(side, v, *front), rounded_box(side, v, *rear))


def paint_car(car: Car, u: Plane, v: Plane, step: float, sun_u: float) -> Plane:
    """Colour every point of the car; ``3 h w`` in [0, 1], defined outside it too.

    Args:
        car: what to paint.
        u: car frame, ``h w``.
        v: car frame, ``h w``.
        step: spacing of the points, the width of an edge.
        sun_u: how much the sun stands on the right of the car, -1 to 1.
    """
    side = np.abs(u)
    half = car.width / 2
    painted, _ = silhouette(car, u, v)
    canvas = np.empty((3, *u.shape), np.float32)
    canvas[:] = column(RUBBER)

    def lay(colour: Colour | Plane, distance: Plane, opacity: float = 1.0) -> None:
        blend(canvas, column(colour), cover(distance, step) * np.float32(opacity))

    # Body: sides fall away into the dark, the side to the sun is lit.
    rounding = np.clip(painted * np.float32(-1 / 2.6), 0, 1)
    light = 0.66 + 0.34 * rounding + (0.10 * sun_u / half) * u
    blend(canvas, lift(car.paint, 0.03) * light.astype(np.float32), cover(painted, step))
    body_top = painted + np.float32(1.0)
    # Bonnet and boot: the shut lines.
    nose = (car.cabin_front - car.length / 2) / 2
    bonnet = rounded_box(
        side, v, 0.0, nose + 0.9, half - 2.6, (car.cabin_front + car.length / 2) / 2 - 1.8, 2.0
    )
    lay(lift(car.paint, 0.10, 1.08), bonnet, 0.75)
    lay(lift(car.paint, -0.05, 0.6), np.abs(bonnet) - np.float32(0.3), 0.6)
    stripes = _stripes(car, side)
    if stripes is not None:
        lay(car.stripe_paint, np.maximum(stripes, body_top))
    # Cabin: glass all over, the roof and its pillars on top.
    mid, reach = (car.cabin_front + car.cabin_rear) / 2, (car.cabin_rear - car.cabin_front) / 2
    cabin = rounded_box(side, v, 0.0, mid, half - 1.5, reach, 2.6)
    lay(lift(car.paint, -0.04, 0.55), cabin - 0.5, 0.8)
    sheen = np.clip((car.cabin_front + car.screen - v) / car.screen, 0, 1) * np.float32(0.22)
    blend(canvas, column(car.glass) + sheen, cover(cabin, step))
    roof_front, roof_rear = car.cabin_front + car.screen, car.cabin_rear - car.rear_screen
    roof_mid, roof_reach = (roof_front + roof_rear) / 2, (roof_rear - roof_front) / 2
    roof_half = half - 3.9
    pillar = lift(car.roof_paint, 0.0, 0.85)
    lay(pillar, segment(side, v, (roof_half - 0.8, roof_front + 0.8), (half - 2, car.cabin_front)))
    lay(pillar, segment(side, v, (roof_half - 0.8, roof_rear - 0.8), (half - 2, car.cabin_rear)))
    lay(pillar, rounded_box(side, v, half - 2.8, roof_mid + 0.6, 1.3, 0.5, 0.1))
    roof = rounded_box(side, v, 0.0, roof_mid, roof_half, roof_reach, 2.0)
    roof_light = 0.84 + 0.24 * np.clip(roof * np.float32(-1 / 1.8), 0, 1)
    blend(canvas, lift(car.roof_paint, 0.06) * roof_light.astype(np.float32), cover(roof, step))
    if stripes is not None and car.roof_paint == car.paint:
        lay(car.stripe_paint, np.maximum(stripes, roof + np.float32(0.2)))
    # Lamps.
    lamp = half * 0.64
    head = rounded_box(side, v, lamp, 1.9 - car.length / 2, half * 0.21, 1.2, 0.9)
    lay(HEADLIGHT, np.maximum(head, painted + np.float32(0.25)))
    tail = rounded_box(side, v, lamp, car.length / 2 - 1.4, half * 0.24, 0.95, 0.5)
    lay(TAIL_LIGHT, np.maximum(tail, painted + np.float32(0.15)))
    return canvas


def _stripes(car: Car, side: Plane) -> Plane | None:
    if car.stripes == 0:
        return None
    centre, half = (0.0, 0.12 * car.width) if car.stripes == 1 else (0.13 * car.width, 1.1)
    distance: Plane = np.abs(side - np.float32(centre)) - np.float32(half)
    return distance


def _draw_paint(rng: np.random.Generator, ground: Colour) -> Colour:
    """White, black, metallic grey, pastel or vivid; the first of 8 that stands out, or the best."""
    best, best_contrast = (0.0, 0.0, 0.0), -1.0
    for _ in range(8):
        family = rng.choice(5, p=(0.13, 0.09, 0.14, 0.12, 0.52))
        hue, a, b = rng.uniform(0, 1, 3)
        paint = colorsys.hsv_to_rgb(
            *(
                (0.6, 0.03 * a, 0.92 + 0.06 * b),
                (0.62, 0.15 * a, 0.13 + 0.07 * b),
                (0.6, 0.10 * a, 0.45 + 0.35 * b),
                (hue, 0.25 + 0.2 * a, 0.80 + 0.15 * b),
                (hue, 0.72 + 0.23 * a, 0.60 + 0.35 * b),
            )[family]
        )
        contrast = float(np.linalg.norm(np.subtract(paint, ground)))
        if contrast > best_contrast:
            best, best_contrast = paint, contrast
        if contrast > 0.42:
            break
    return best


def _either(rng: np.random.Generator, chance: float, one: Colour, other: Colour) -> Colour:
    return one if rng.uniform() < chance else other
