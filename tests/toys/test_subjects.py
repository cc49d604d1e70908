"""Cars, fish and portraits: their measures, their parts, and the area that they cover."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from toy_outlines import (
    FINE,
    in_frame,
    points_in_car,
    points_in_fish,
    points_in_portrait,
    rings,
)

from l4f_datagen.toys import fish as fish_module
from l4f_datagen.toys import portrait as portrait_module
from l4f_datagen.toys.car import draw_car
from l4f_datagen.toys.fish import FIN_SHARE, draw_fish
from l4f_datagen.toys.ground import WALLS, WATERS, draw_ground
from l4f_datagen.toys.portrait import draw_portrait
from l4f_datagen.toys.scene import render_scene

GREY, POND = (0.4, 0.4, 0.4), (0.15, 0.3, 0.28)
CAR_GROUNDS = [GREY, (0.3, 0.5, 0.2), (0.8, 0.7, 0.5), (0.1, 0.1, 0.1)]


def make_cars(count, ground=GREY):
    rng = np.random.default_rng(0)
    return [draw_car(rng, ground) for _ in range(count)]


def make_fish(count):
    rng = np.random.default_rng(0)
    return [draw_fish(rng, POND) for _ in range(count)]


def make_portraits(count):
    rng = np.random.default_rng(0)
    return [draw_portrait(rng, draw_ground(rng, WALLS).colour) for _ in range(count)]


def values(subjects, name):
    return np.array([getattr(one, name) for one in subjects])


def colour_at(one, u, v):
    at_u, at_v = np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32)
    return one.colours(at_u, at_v, step=0.1, sun_u=0.0)[:, 0, 0]


REFERENCES = {
    "toy-cars": (points_in_car, 0.015, 0.08, 0.02),
    # Distances are to first order: less sharp at the tips of fins, at hair and chins.
    "toy-fish": (points_in_fish, 0.02, 0.15, 0.03),
    "toy-portraits": (points_in_portrait, 0.02, 0.2, 0.03),
}
"""Domain: reference, and how far alpha may lie off it: mean at the edge, largest, elsewhere."""


@pytest.mark.parametrize(
    ("domain", "size", "count"),
    [
        *(("toy-cars", size, count) for size, count in ((32, 8), (64, 8), (128, 2))),
        *(("toy-fish", size, count) for size, count in ((32, 4), (64, 6))),
        *(("toy-portraits", size, count) for size, count in ((32, 4), (64, 12))),
    ],
)
def test_alpha_is_the_covered_area(domain, size, count):
    points_in, mean, most, elsewhere = REFERENCES[domain]
    for seed in range(count):
        scene = render_scene(seed, size, domain)
        inside = points_in(scene.subject, size)
        off = np.abs(scene.alpha - inside.reshape(size, FINE, size, FINE).mean(axis=(1, 3)))
        edge = (scene.alpha > 0) & (scene.alpha < 1)
        assert edge.sum() > size
        assert off[edge].mean() < mean
        assert off.max() < most
        assert off[~edge].max() < elsewhere


def test_measures_of_cars_are_in_range_and_varied():
    cars = make_cars(500)
    angles = np.rad2deg(values(cars, "angle"))
    assert np.abs(angles).max() <= 20
    assert np.ptp(angles) > 38
    for name, least, most in (("width", 18.5, 24.5), ("length", 41, 52)):
        found = values(cars, name)
        assert (found.min(), found.max()) == pytest.approx((least, most), abs=0.3)
    assert min(np.ptp(values(cars, "x")), np.ptp(values(cars, "y"))) > 12
    assert set(values(cars, "stripes")) == {0, 1, 2}
    assert any(car.roof_paint != car.paint for car in cars)
    paints = values(cars, "paint")
    assert (paints.min(axis=1) > 0.9).any()  # white
    assert (paints.max(axis=1) < 0.25).any()  # black
    assert set(np.argmax(paints[np.ptp(paints, axis=1) > 0.4], axis=1).tolist()) == {0, 1, 2}


def test_measures_of_fish_are_in_range_and_varied():
    fish = make_fish(500)
    length = values(fish, "length")
    assert (length.min(), length.max()) == pytest.approx((28, 34), abs=0.2)
    ranges = {"width": (0.31, 0.37), "tail": (0.24, 0.30), "fin": (0.22, 0.28)}
    for name, limits in (ranges | {"bend": (-0.16, 0.16)}).items():
        share = values(fish, name) / length
        assert (share.min(), share.max()) == pytest.approx(limits, rel=0.05), name
    angles = np.rad2deg(values(fish, "angle"))
    off = np.abs(angles) - 90
    assert np.abs(off).max() <= 35
    assert np.ptp(off) > 66
    assert 200 < (angles < 0).sum() < 300  # heads left as often as right
    assert np.ptp(values(fish, "x")) > 10
    assert np.ptp(values(fish, "y")) > 20
    assert {len(one.patches) for one in fish} == {0, 1, 2, 3, 4}


def test_measures_of_portraits_vary_and_shoulders_end_below_the_frame():
    portraits = make_portraits(300)
    long_hair = values(portraits, "hair_end") / values(portraits, "face_height") > 0.8
    assert 0.35 < long_hair.mean() < 0.65
    assert np.ptp(values(portraits, "x")) > 5
    assert np.ptp(np.rad2deg(values(portraits, "angle"))) > 14
    assert max(values(portraits, "y") + values(portraits, "shoulder_top")) < 62


def test_coats_are_those_of_koi():
    hues = {"white": 0, "orange": 0, "gold": 0}
    for one in make_fish(400):
        hue, saturation, value = colorsys.rgb_to_hsv(*one.paint)
        hues["white" if saturation < 0.1 else "orange" if hue < 0.08 else "gold"] += 1
        assert value > 0.8
        assert np.linalg.norm(np.subtract(one.paint, one.patch_paint)) > 0.2
    # Five coats, two of them white and two orange.
    assert hues == pytest.approx({"white": 160, "orange": 160, "gold": 80}, abs=40)


def test_reach_holds_the_whole_car_inside_the_margin():
    grid = np.linspace(-40, 40, 801, dtype=np.float32)
    u, v = np.meshgrid(grid, grid)
    for car in make_cars(30):
        inside = car.outline(u, v) < 0
        turned = np.exp(1j * car.angle) * (u[inside] + 1j * v[inside])
        found = turned.real, turned.imag
        for along, middle, reach in zip(found, (car.x, car.y), car.reach, strict=True):
            assert np.abs(along).max() <= reach
            assert 2 - 1e-6 <= middle - reach < middle + reach <= 62 + 1e-6


def test_a_fish_lies_wholly_inside_the_frame():
    rng, nearest = np.random.default_rng(3), []
    for _ in range(400):
        one = draw_fish(rng, POND)
        places = np.concatenate([in_frame(one, ring) for ring in rings(one)])
        nearest.append(min(places.min(), 64 - places.max()))
    # Of the longest and most bent a few come nearer to the border than the margin of 2.
    assert min(nearest) > 1
    assert np.mean(np.array(nearest) < 2 - 1e-6) < 0.005


@pytest.mark.parametrize(
    ("draw", "ground_of", "parts", "least", "share"),
    [
        (draw_car, lambda rng: CAR_GROUNDS[rng.integers(4)], "paint", 0.35, 0.97),
        (draw_fish, lambda rng: draw_ground(rng, WATERS).colour, "paint", 0.35, 0.99),
        (draw_portrait, lambda rng: draw_ground(rng, WALLS).colour, "hair_paint shirt", 0, 0.9),
    ],
)
def test_the_paint_stands_out_from_the_ground(draw, ground_of, parts, least, share):
    rng, contrasts = np.random.default_rng(1), []
    for _ in range(800):
        ground = ground_of(rng)
        one = draw(rng, ground)
        paints = [getattr(one, part) for part in parts.split()]
        contrasts += [np.linalg.norm(np.subtract(paint, ground)) for paint in paints]
    assert min(contrasts) > least
    assert np.mean(np.array(contrasts) > 0.42) > share


def test_parts_of_a_car_lie_where_they_belong():
    for car in make_cars(30):
        blue = (0.1, 0.3, 0.9)
        plain = replace(car, paint=blue, roof_paint=blue, stripes=0)
        half, lamp = plain.width / 2, 0.64 * plain.width / 2
        for side in (-1, 1):
            assert min(colour_at(plain, side * lamp, 1.9 - plain.length / 2)) > 0.7, "headlight"
            red, *others = colour_at(plain, side * lamp, plain.length / 2 - 1.4)
            assert max(others) < 0.1 < 0.8 < red, "tail light"
            wheel_u = side * (half + plain.wheel_out - 0.3)
            assert max(colour_at(plain, wheel_u, plain.rear_axle)) < 0.1, "wheel"
            window_v = plain.cabin_rear - plain.rear_screen
            assert max(colour_at(plain, side * (half - 2.8), window_v)) < 0.5, "side window"
        assert max(colour_at(plain, 0, plain.cabin_front + 1)) < 0.55, "windscreen"
        assert max(colour_at(plain, 0, plain.cabin_rear - 1)) < 0.35, "rear window"
        assert colour_at(plain, 0, (plain.cabin_front + plain.cabin_rear) / 2)[2] > 0.85, "roof"
        striped = replace(plain, stripes=1, stripe_paint=(0.95, 0.95, 0.92))
        assert min(colour_at(striped, 0, 4 - plain.length / 2)) > 0.9, "stripe"


def test_parts_of_a_fish_lie_where_they_belong():
    def at(fish, u, v):
        """Colour at a place of the straightened fish."""
        return colour_at(fish, u + fish.bend * (v / fish.length + 0.5) ** 2, v)

    for one in make_fish(30):
        plain = replace(one, paint=(0.9, 0.6, 0.2), patches=())
        for side in (-1, 1):
            eye = at(plain, side * 0.26 * one.width, -0.36 * one.length)
            assert eye == pytest.approx(fish_module.EYE, abs=0.02)
            fin_u, fin_v = rings(plain)[2 if side < 0 else 3].mean(axis=0)
            assert at(plain, fin_u, fin_v)[0] < 0.9 * FIN_SHARE + 0.13, "pectoral"
        flank = at(plain, 0.2 * one.width, 0.06 * one.length)
        assert flank[0] > 0.75
        assert at(plain, 0.0, 0.06 * one.length)[0] < 0.88 * flank[0], "crest"
        tail = at(plain, 0.0, one.length / 2 + 0.3 * one.tail)
        assert tail[0] < 0.9 * FIN_SHARE + 0.13, "tail fin"
        spot = (0.25 * one.length, 0.0, 0.2 * one.width)
        patched = replace(plain, patches=(spot,), patch_paint=(0.9, 0.1, 0.1))
        assert at(patched, 0.8, spot[0])[1] < 0.15, "patch"
        assert at(patched, 0.8, spot[0] - one.width * 0.4)[1] > 0.4, "beside the patch"


def test_parts_of_a_portrait_lie_where_they_belong():
    for one in make_portraits(20):
        eye_u, eye_v = 0.42 * one.face_width, -0.08 * one.face_height
        for u, v, paint, away in (
            (-eye_u, eye_v, portrait_module.EYE, 0.02),
            (eye_u, eye_v, portrait_module.EYE, 0.02),
            (0.0, one.hairline - 2, one.hair_paint, 0.08),  # forehead
            (0.5 * one.face_width, 0.3 * one.face_height, one.skin, 0.12),  # cheek
            (0.0, one.shoulder_top + 12, one.shirt, 0.05),  # chest
        ):
            assert colour_at(one, u, v) == pytest.approx(paint, abs=away), (u, v)


def test_the_side_to_the_sun_is_lighter():
    car = replace(make_cars(1)[0], stripes=0, paint=(0.5, 0.5, 0.5))
    fish = replace(make_fish(1)[0], bend=0.0, patches=(), paint=(0.6, 0.6, 0.6))
    for one, u, v in ((car, 6, car.length / 2 - 3), (fish, 3, 5)):
        for sun_u in (-1.0, 1.0):
            places = np.float32([[-u, u]]), np.full((1, 2), v, np.float32)
            left, right = one.colours(*places, 0.1, sun_u)[:, 0].mean(axis=0)
            assert (right - left) * sun_u > 0.02
