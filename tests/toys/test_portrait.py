import numpy as np
import pytest

from l4f_datagen.toys.ground import WALLS, draw_ground
from l4f_datagen.toys.portrait import EYE, Portrait, draw_portrait
from l4f_datagen.toys.scene import render_scene

FINE = 16
"""Points of the reference by pixel and axis."""


def make_portraits(count: int) -> list[Portrait]:
    rng = np.random.default_rng(0)
    return [draw_portrait(rng, draw_ground(rng, WALLS).colour) for _ in range(count)]


def in_ellipse(u, v, half_u, half_v):
    return (u / half_u) ** 2 + (v / half_v) ** 2 <= 1


def in_box(u, v, half_u, top, bottom, radius):
    """A cross of two boxes and four discs."""
    du, dv = np.abs(u), np.abs(v - (top + bottom) / 2)
    half_v = (bottom - top) / 2
    cross = ((du <= half_u - radius) & (dv <= half_v)) | ((du <= half_u) & (dv <= half_v - radius))
    return cross | ((du - half_u + radius) ** 2 + (dv - half_v + radius) ** 2 <= radius**2)


def brute_force_alpha(one: Portrait, size: int) -> np.ndarray:
    """Share of the points of each pixel that lie in hair, face, neck or shoulders."""
    at = (np.arange(size * FINE) + 0.5) * 64 / (size * FINE)
    x, y = np.meshgrid(at - one.x, at - one.y)
    turned = np.exp(-1j * one.angle) * (x + 1j * y)
    u, v = turned.real, turned.imag
    wide, top = one.face_width + one.sides, -0.4 * one.face_height
    cap_height = one.face_height + one.crown / 2
    inside = in_ellipse(u, v, one.face_width, one.face_height)
    inside |= in_ellipse(u, v + one.crown / 2 + 1, wide, cap_height) & (v <= one.hair_end)
    round_by = min(5.0, (one.hair_end - top) / 2)
    inside |= in_box(u, v, 0.97 * wide, top, one.hair_end, round_by)
    inside |= in_box(u, v, one.neck, 0, one.shoulder_top + 3, 1)
    shoulders = one.shoulder_top, one.shoulder_top + 120
    inside |= in_box(u, v, one.shoulders, *shoulders, 0.55 * one.shoulders)
    return inside.reshape(size, FINE, size, FINE).mean(axis=(1, 3))


@pytest.mark.parametrize(("size", "count"), [(32, 4), (64, 12)])
def test_alpha_is_the_covered_area(size, count):
    for seed in range(count):
        scene = render_scene(seed, size, "toy-portraits")
        off = np.abs(scene.alpha - brute_force_alpha(scene.subject, size))
        edge = (scene.alpha > 0) & (scene.alpha < 1)
        assert edge.sum() > size
        assert off[edge].mean() < 0.02
        assert off.max() < 0.2  # distances are to first order
        assert off[~edge].max() < 0.03


def test_measures_vary_and_shoulders_end_below_the_frame():
    portraits = make_portraits(300)
    lengths = np.array([one.hair_end / one.face_height for one in portraits])
    assert 0.35 < (lengths > 0.8).mean() < 0.65  # long hair, short hair
    assert np.ptp([one.x for one in portraits]) > 5
    assert np.ptp([np.rad2deg(one.angle) for one in portraits]) > 14
    assert max(one.y + one.shoulder_top for one in portraits) < 62


def test_hair_and_shirt_stand_out_from_the_wall():
    rng = np.random.default_rng(1)
    contrasts = []
    for _ in range(300):
        wall = draw_ground(rng, WALLS).colour
        one = draw_portrait(rng, wall)
        contrasts += [np.subtract(paint, wall) for paint in (one.hair_paint, one.shirt)]
    assert np.mean(np.linalg.norm(contrasts, axis=1) > 0.42) > 0.9


def test_parts_lie_where_they_belong():
    for one in make_portraits(20):
        eye_u, eye_v = 0.42 * one.face_width, -0.08 * one.face_height
        for u, v, paint, away in (
            (-eye_u, eye_v, EYE, 0.02),
            (eye_u, eye_v, EYE, 0.02),
            (0.0, one.hairline - 2, one.hair_paint, 0.08),  # forehead
            (0.5 * one.face_width, 0.3 * one.face_height, one.skin, 0.12),  # cheek
            (0.0, one.shoulder_top + 12, one.shirt, 0.05),  # chest
        ):
            place = np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32)
            found = one.colours(*place, step=0.1, sun_u=0.0)[:, 0, 0]
            assert found == pytest.approx(paint, abs=away), (u, v)
