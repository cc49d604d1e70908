import dataclasses

import numpy as np
import pytest

from l4f_datagen.toys.car import Car, draw_car

GREY = (0.4, 0.4, 0.4)


def make_cars(count: int, ground: tuple[float, float, float] = GREY) -> list[Car]:
    rng = np.random.default_rng(0)
    return [draw_car(rng, ground) for _ in range(count)]


def test_measures_are_in_range_and_varied():
    cars = make_cars(500)
    angles = np.rad2deg([car.angle for car in cars])
    assert np.abs(angles).max() <= 20
    assert np.ptp(angles) > 38
    widths, lengths = (np.array([getattr(car, f) for car in cars]) for f in ("width", "length"))
    assert (widths.min(), widths.max()) == pytest.approx((18.5, 24.5), abs=0.3)
    assert (lengths.min(), lengths.max()) == pytest.approx((41, 52), abs=0.3)
    assert np.ptp([car.x for car in cars]) > 12
    assert np.ptp([car.y for car in cars]) > 12
    assert {car.stripes for car in cars} == {0, 1, 2}
    assert any(car.roof_paint != car.paint for car in cars)
    paints = np.array([car.paint for car in cars])
    assert (paints.min(axis=1) > 0.9).any()  # white
    assert (paints.max(axis=1) < 0.25).any()  # black
    assert set(np.argmax(paints[np.ptp(paints, axis=1) > 0.4], axis=1).tolist()) == {0, 1, 2}


def test_reach_holds_the_whole_silhouette_inside_the_margin():
    grid = np.linspace(-40, 40, 801, dtype=np.float32)
    u, v = np.meshgrid(grid, grid)
    for car in make_cars(30):
        inside = car.outline(u, v) < 0
        turned = np.exp(1j * car.angle) * (u[inside] + 1j * v[inside])
        found = turned.real, turned.imag
        for along, middle, reach in zip(found, (car.x, car.y), car.reach, strict=True):
            assert np.abs(along).max() <= reach
            assert 2 - 1e-6 <= middle - reach < middle + reach <= 62 + 1e-6


@pytest.mark.parametrize("ground", [GREY, (0.3, 0.5, 0.2), (0.8, 0.7, 0.5), (0.1, 0.1, 0.1)])
def test_paint_stands_out_from_the_ground(ground):
    contrasts = [np.linalg.norm(np.subtract(car.paint, ground)) for car in make_cars(200, ground)]
    assert min(contrasts) > 0.35
    assert np.mean(np.array(contrasts) > 0.42) > 0.97


def paint_at(car: Car, u: float, v: float) -> np.ndarray:
    at_u, at_v = np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32)
    return car.colours(at_u, at_v, step=0.1, sun_u=0.0)[:, 0, 0]


def test_parts_lie_where_they_belong():
    for car in make_cars(30):
        blue = (0.1, 0.3, 0.9)
        plain = dataclasses.replace(car, paint=blue, roof_paint=blue, stripes=0)
        half, lamp = plain.width / 2, 0.64 * plain.width / 2
        for side in (-1, 1):
            assert min(paint_at(plain, side * lamp, 1.9 - plain.length / 2)) > 0.7, "headlight"
            red, *others = paint_at(plain, side * lamp, plain.length / 2 - 1.4)
            assert max(others) < 0.1 < 0.8 < red, "tail light"
            wheel_u = side * (half + plain.wheel_out - 0.3)
            assert max(paint_at(plain, wheel_u, plain.rear_axle)) < 0.1, "wheel"
            side_window = paint_at(plain, side * (half - 2.8), plain.cabin_rear - plain.rear_screen)
            assert max(side_window) < 0.5, "side window"
        assert max(paint_at(plain, 0, plain.cabin_front + 1)) < 0.55, "windscreen"
        assert max(paint_at(plain, 0, plain.cabin_rear - 1)) < 0.35, "rear window"
        roof = paint_at(plain, 0, (plain.cabin_front + plain.cabin_rear) / 2)
        assert roof[2] > 0.85, "roof"
        striped = dataclasses.replace(plain, stripes=1, stripe_paint=(0.95, 0.95, 0.92))
        assert min(paint_at(striped, 0, 4 - plain.length / 2)) > 0.9, "stripe"


def test_the_side_to_the_sun_is_lighter():
    car = dataclasses.replace(make_cars(1)[0], stripes=0, paint=(0.5, 0.5, 0.5))
    behind = np.full((1, 2), car.length / 2 - 3, np.float32)
    left_right = np.array([[-6, 6]], np.float32)
    for sun_u in (-1.0, 1.0):
        left, right = car.colours(left_right, behind, 0.1, sun_u)[:, 0].mean(axis=0)
        assert (right - left) * sun_u > 0.02
