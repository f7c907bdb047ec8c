"""Boxes around outlines that are no upright boxes: points, turned boxes, ellipses.

In: corners, sides and angles in pixels of the image. Out: left, top, right and bottom of the smallest upright box
around them. Angles are degrees; which way they turn makes no difference to that box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Sides = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def around(points: Sequence[Sequence[float]]) -> Sides:
    """Return the box around points, each x and y."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned_box(box: Sides, degrees: float) -> Sides:
    """Return the box around a box that is turned about its centre."""
    x, y, half_width, half_height = _centred(box)
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    return _sides(x, y, half_width * cos + half_height * sin, half_width * sin + half_height * cos)


def turned_ellipse(box: Sides, degrees: float) -> Sides:
    """Return the box around an ellipse that fills a box and is turned about its centre."""
    x, y, half_width, half_height = _centred(box)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _sides(
        x,
        y,
        math.hypot(half_width * cos, half_height * sin),
        math.hypot(half_width * sin, half_height * cos),
    )


def _centred(box: Sides) -> Sides:
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, abs(right - left) / 2, abs(bottom - top) / 2


def _sides(x: float, y: float, half_width: float, half_height: float) -> Sides:
    return x - half_width, y - half_height, x + half_width, y + half_height
