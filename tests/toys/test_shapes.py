import numpy as np
import pytest

from l4f_datagen.toys.shapes import ellipse, paint, rounded_box, segment


def points(count: int = 300) -> np.ndarray:
    """``2 count`` places within 10 units of the origin."""
    return np.random.default_rng(1).uniform(-10, 10, (2, count)).astype(np.float32)


def to_outline(u: np.ndarray, v: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Way from each place to the nearest of many points ``2 n`` of an outline."""
    return np.hypot(u[:, None] - outline[0], v[:, None] - outline[1]).min(axis=1)


def test_rounded_box_is_the_distance_to_its_outline():
    half_u, half_v, radius = 4.0, 7.0, 2.0
    turn = np.linspace(0, 2 * np.pi, 4000)
    corner_u = np.sign(np.cos(turn)) * (half_u - radius) + radius * np.cos(turn)
    corner_v = np.sign(np.sin(turn)) * (half_v - radius) + radius * np.sin(turn)
    # Between two corners the outline is straight: fill the gaps of the four arcs.
    side = np.linspace(-1, 1, 2000)
    flat, steep, one = side * (half_u - radius), side * (half_v - radius), np.ones(2000)
    outline_u = np.concatenate([corner_u, flat, flat, -half_u * one, half_u * one])
    outline_v = np.concatenate([corner_v, -half_v * one, half_v * one, steep, steep])

    u, v = points()
    distance = rounded_box(u + 1, v - 2, 1.0, -2.0, half_u, half_v, radius)
    assert distance.dtype == np.float32
    nearest = to_outline(u, v, np.stack([outline_u, outline_v]))
    np.testing.assert_allclose(np.abs(distance), nearest, atol=5e-3)
    inside = (np.abs(u) < half_u - radius) & (np.abs(v) < half_v)
    assert inside.any()
    assert (distance[inside] < 0).all()
    assert (distance[(np.abs(u) > half_u) | (np.abs(v) > half_v)] > 0).all()
    centre = rounded_box(np.ones(1, np.float32), np.zeros(1, np.float32), 1, 0, 4, 7, 2)
    assert centre[0] == pytest.approx(-4)


def test_ellipse_is_the_distance_to_its_outline_to_first_order():
    turn, (u, v) = np.linspace(0, 2 * np.pi, 4000), points()
    found = ellipse(u, v, 4.0, 7.0)
    nearest = to_outline(u, v, np.stack([4 * np.cos(turn), 7 * np.sin(turn)]))
    assert ((found < 0) == ((u / 4) ** 2 + (v / 7) ** 2 < 1)).all()
    near = nearest < 1
    np.testing.assert_allclose(np.abs(found[near]), nearest[near], rtol=0.2, atol=0.02)


def test_segment_is_the_distance_to_its_line():
    start, end = (-3.0, 1.0), (4.0, 5.0)
    share = np.linspace(0, 1, 4000)
    line = np.stack([start[k] + share * (end[k] - start[k]) for k in (0, 1)])
    u, v = points()
    found = segment(u, v, start, end, half=0.7)
    np.testing.assert_allclose(found, to_outline(u, v, line) - 0.7, atol=1e-3)
    assert segment(np.float32([3]), np.float32([0]), (0, 0), (1, 0))[0] == pytest.approx(1.55)


def test_paint_covers_the_share_of_a_cell_beside_an_edge():
    # A straight edge at u = 0 through cells of width 2, covered on the negative side.
    centres = np.arange(-3, 3.1, 0.25, dtype=np.float32)
    canvas = np.zeros((3, *centres.shape, 1), np.float32)
    paint(canvas, 2.0, (1.0, 1.0, 1.0), centres[:, None])
    expected = np.clip(0 - (centres - 1), 0, 2) / 2
    np.testing.assert_allclose(canvas[..., 0], [expected] * 3, atol=1e-6)


def test_paint_lies_over_the_canvas_in_place():
    canvas = np.full((3, 1, 3), 0.2, np.float32)
    paint(canvas, 1.0, (1.0, 0.6, 0.2), np.float32([[0.5, 0, -0.5]]))
    wanted = [[0.2, 0.6, 1.0], [0.2, 0.4, 0.6], [0.2, 0.2, 0.2]]
    np.testing.assert_allclose(canvas[:, 0], wanted, atol=1e-7)
    paint(canvas, 1.0, np.zeros((3, 1, 3), np.float32), np.float32([[-1, -1, -1]]), 0.5)
    np.testing.assert_allclose(canvas[:, 0], np.multiply(wanted, 0.5), atol=1e-7)
