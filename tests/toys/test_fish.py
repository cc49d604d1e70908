import colorsys
import dataclasses

import numpy as np
import pytest
from skimage.draw import polygon

from l4f_datagen.toys.fish import EYE, FIN_SHARE, Fish, draw_fish
from l4f_datagen.toys.ground import WATERS, draw_ground
from l4f_datagen.toys.scene import render_scene

POND = (0.15, 0.3, 0.28)
FINE = 16
"""Cells of the reference by pixel and axis."""


def make_fish(count: int, water: tuple[float, float, float] = POND) -> list[Fish]:
    rng = np.random.default_rng(0)
    return [draw_fish(rng, water) for _ in range(count)]


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


def drawn_alpha(fish: Fish, size: int) -> np.ndarray:
    """Share of each pixel that the filled polygons cover, by another library."""
    canvas = np.zeros((size * FINE, size * FINE), bool)
    for ring in rings(fish):
        columns, rows = in_frame(fish, ring).T * (size * FINE / 64) - 0.5
        canvas[polygon(rows, columns, canvas.shape)] = True
    return canvas.reshape(size, FINE, size, FINE).mean(axis=(1, 3))


@pytest.mark.parametrize(("size", "count"), [(32, 4), (64, 6)])
def test_alpha_is_the_covered_area(size, count):
    for seed in range(count):
        scene = render_scene(seed, size, "toy-fish")
        off = np.abs(scene.alpha - drawn_alpha(scene.subject, size))
        edge = (scene.alpha > 0) & (scene.alpha < 1)
        assert edge.sum() > size
        assert off[edge].mean() < 0.02
        assert off.max() < 0.15  # distances are to first order: less sharp at the tips of fins
        assert off[~edge].max() < 0.03


def test_measures_are_in_range_and_varied():
    fish = make_fish(500)
    length = np.array([one.length for one in fish])
    assert (length.min(), length.max()) == pytest.approx((28, 34), abs=0.2)
    for field, least, most in (
        ("width", 0.31, 0.37), ("tail", 0.24, 0.30), ("fin", 0.22, 0.28), ("bend", -0.16, 0.16)
    ):  # fmt: skip
        share = np.array([getattr(one, field) for one in fish]) / length
        assert (share.min(), share.max()) == pytest.approx((least, most), rel=0.05), field
    angles = np.rad2deg([one.angle for one in fish])
    off = np.abs(angles) - 90
    assert np.abs(off).max() <= 35
    assert np.ptp(off) > 66
    assert 200 < (angles < 0).sum() < 300  # heads left as often as right
    assert np.ptp([one.x for one in fish]) > 10
    assert np.ptp([one.y for one in fish]) > 20
    assert {len(one.patches) for one in fish} == {0, 1, 2, 3, 4}


def test_coats_are_those_of_koi():
    fish = make_fish(400)
    hues = {}
    for one in fish:
        hue, saturation, value = colorsys.rgb_to_hsv(*one.paint)
        name = "white" if saturation < 0.1 else "orange" if hue < 0.08 else "gold"
        assert value > 0.8
        hues[name] = hues.get(name, 0) + 1
        assert np.linalg.norm(np.subtract(one.paint, one.patch_paint)) > 0.2
    # Five coats, two of them white and two orange.
    assert hues == pytest.approx({"white": 160, "orange": 160, "gold": 80}, abs=40)


def test_a_fish_lies_wholly_inside_the_frame():
    rng = np.random.default_rng(3)
    nearest = []
    for _ in range(400):
        one = draw_fish(rng, POND)
        places = np.concatenate([in_frame(one, ring) for ring in rings(one)])
        nearest.append(min(places.min(), 64 - places.max()))
    # Of the longest and most bent a few come nearer to the border than the margin of 2.
    assert min(nearest) > 1
    assert np.mean(np.array(nearest) < 2 - 1e-6) < 0.005


def test_the_paint_stands_out_from_the_water():
    rng = np.random.default_rng(1)
    contrasts = []
    for _ in range(500):
        water = draw_ground(rng, WATERS).colour
        contrasts.append(np.linalg.norm(np.subtract(draw_fish(rng, water).paint, water)))
    assert min(contrasts) > 0.35
    assert np.mean(np.array(contrasts) > 0.42) > 0.99


def paint_at(fish: Fish, u: float, v: float) -> np.ndarray:
    """Colour at a place of the straightened fish."""
    swing = fish.bend * (v / fish.length + 0.5) ** 2
    at_u, at_v = np.full((1, 1), u + swing, np.float32), np.full((1, 1), v, np.float32)
    return fish.colours(at_u, at_v, step=0.1, sun_u=0.0)[:, 0, 0]


def test_parts_lie_where_they_belong():
    for one in make_fish(30):
        plain = dataclasses.replace(one, paint=(0.9, 0.6, 0.2), patches=())
        for side in (-1, 1):
            eye = paint_at(plain, side * 0.26 * one.width, -0.36 * one.length)
            assert eye == pytest.approx(EYE, abs=0.02)
            fin_u, fin_v = rings(plain)[2 if side < 0 else 3].mean(axis=0)
            assert paint_at(plain, fin_u, fin_v)[0] < 0.9 * FIN_SHARE + 0.13, "pectoral"
        flank = paint_at(plain, 0.2 * one.width, 0.06 * one.length)
        crest = paint_at(plain, 0.0, 0.06 * one.length)
        assert flank[0] > 0.75
        assert crest[0] < 0.88 * flank[0]
        tail = paint_at(plain, 0.0, one.length / 2 + 0.3 * one.tail)
        assert tail[0] < 0.9 * FIN_SHARE + 0.13, "tail fin"
        spot = (0.25 * one.length, 0.0, 0.2 * one.width)
        patched = dataclasses.replace(plain, patches=(spot,), patch_paint=(0.9, 0.1, 0.1))
        assert paint_at(patched, 0.8, spot[0])[1] < 0.15, "patch"
        assert paint_at(patched, 0.8, spot[0] - one.width * 0.4)[1] > 0.4, "beside the patch"


def test_the_side_to_the_sun_is_lighter():
    fish = dataclasses.replace(make_fish(1)[0], bend=0.0, patches=(), paint=(0.6, 0.6, 0.6))
    sides = np.array([[-3, 3]], np.float32)
    for sun_u in (-1.0, 1.0):
        left, right = fish.colours(sides, np.full((1, 2), 5, np.float32), 0.1, sun_u)[0, 0]
        assert (right - left) * sun_u > 0.02
