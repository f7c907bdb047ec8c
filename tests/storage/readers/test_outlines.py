"""Boxes around outlines: what a person would draw around them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.readers.outlines import around, turned_box, turned_ellipse

SIDE = st.floats(-1000, 1000)
ANGLE = st.floats(-720, 720)


def test_a_quarter_turn_swaps_the_sides_about_the_centre() -> None:
    assert turned_box((10, 20, 30, 24), 90) == pytest.approx((18, 12, 22, 32))
    assert turned_ellipse((10, 20, 30, 24), -90) == pytest.approx((18, 12, 22, 32))
    assert turned_box((0, 0, 2, 2), 45) == pytest.approx((1 - 2**0.5, 1 - 2**0.5, 1 + 2**0.5, 1 + 2**0.5))
    assert turned_ellipse((0, 0, 2, 2), 45) == pytest.approx((0, 0, 2, 2))


@given(SIDE, SIDE, SIDE, SIDE, ANGLE)
def test_a_turned_box_is_that_around_its_turned_corners(
    x: float, y: float, w: float, h: float, angle: float
) -> None:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [
        (x + cos * dx - sin * dy, y + sin * dx + cos * dy) for dx in (-w / 2, w / 2) for dy in (-h / 2, h / 2)
    ]
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    assert turned_box(box, angle) == pytest.approx(around(corners), abs=1e-6)


@given(SIDE, SIDE, SIDE, SIDE, ANGLE)
def test_a_turned_ellipse_is_within_its_turned_box_and_touches_its_own(
    x: float, y: float, w: float, h: float, angle: float
) -> None:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    turns = [math.radians(degree) for degree in range(360)]
    points = [
        (
            x + cos * w / 2 * math.cos(turn) - sin * h / 2 * math.sin(turn),
            y + sin * w / 2 * math.cos(turn) + cos * h / 2 * math.sin(turn),
        )
        for turn in turns
    ]
    assert turned_ellipse(box, angle) == pytest.approx(around(points), abs=1e-3 * (1 + abs(w) + abs(h)))
