"""Ten mirror-invariant shape classes, each with many parametric variants, drawn as antialiased masks.

In: a class, a variant number, a height in pixels and a rotation. Out: `ShapeMask`, the coverage of every
pixel and the box that is tight around it. Guaranteed: a variant is the same shape in every run; train and
test variants are disjoint; a class stays its class under a horizontal flip.

Outlines are polygons in a unit frame (x right, y down, both about -1 .. 1): points_P2, P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Points = npt.NDArray[np.float64]
Part = Literal["train", "test"]
Shape = Literal[
    "disk", "square", "triangle", "ring", "cross", "star", "hourglass", "frame", "crescent", "tee"
]

SHAPES: tuple[Shape, ...] = get_args(Shape)  # from the most to the least frequent in train
NUM_VARIANTS = 64
TEST_EVERY = 4  # every fourth variant is drawn in test only
SUPERSAMPLE = 4  # box edges are multiples of 1/4 px
CIRCLE_POINTS = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeMask:
    """One drawn object, in the pixels of its own small canvas."""

    coverage_HW: npt.NDArray[np.float32]
    """Share of each pixel that the object covers, 0 .. 1."""
    box_4: npt.NDArray[np.float64]
    """xyxy around the covered area, in canvas pixels, exact to 1 / SUPERSAMPLE."""


def part_variants(part: Part) -> npt.NDArray[np.int64]:
    """Return the variant numbers of a part; those of train and test are disjoint."""
    variants = np.arange(NUM_VARIANTS)
    in_test = variants % TEST_EVERY == TEST_EVERY - 1
    return np.flatnonzero(in_test if part == "test" else ~in_test)


def draw_shape(shape: Shape, variant: int, *, height: float, rotation: float) -> ShapeMask:
    """Draw one object.

    `height` is the height of the drawn object in pixels, after rotation; `rotation` is in radians.
    """
    cos, sin = np.cos(rotation), np.sin(rotation)
    turned = [contour @ np.array([[cos, sin], [-sin, cos]]) for contour in contours(shape, variant)]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    scale = height * SUPERSAMPLE / (high[1] - low[1])
    width_fine, height_fine = np.ceil((high - low) * scale).astype(int)
    columns, rows = (-(-int(side) // SUPERSAMPLE) + 1 for side in (width_fine, height_fine))

    mask = Image.new("L", (columns * SUPERSAMPLE, rows * SUPERSAMPLE))
    canvas = ImageDraw.Draw(mask)
    for number, contour in enumerate(turned):
        canvas.polygon(((contour - low) * scale).ravel().tolist(), fill=0 if number else 255)
    tight = mask.getbbox()
    assert tight is not None
    return ShapeMask(
        coverage_HW=np.asarray(mask.reduce(SUPERSAMPLE), np.float32) / np.float32(255),
        box_4=np.array(tight) / SUPERSAMPLE,
    )


@cache
def contours(shape: Shape, variant: int) -> tuple[Points, ...]:
    """Return the outline of a variant, then its holes, each points_P2 in the unit frame."""
    aspect, first, second, rounding = variant_parameters(shape, variant)
    stretch = np.array([1.35 ** (2 * aspect - 1), 1.0])
    cut = _between(0.02, 0.13, rounding)
    match shape:
        case "disk":
            outlines = [_ellipse(1, exponent=_between(1.8, 2.3, first))]
        case "ring":
            outlines = [_ellipse(1), _ellipse(_between(0.42, 0.68, first))]
        case "crescent":
            outlines = [_crescent(distance=_between(0.5, 0.75, first), radius=_between(0.75, 0.95, second))]
        case "square":
            outlines = [_rounded(_trapezoid(_between(0.82, 1, second)), cut)]
        case "frame":
            square = _rounded(_trapezoid(1), cut)
            outlines = [square, square * _between(0.45, 0.68, first)]
        case "triangle":
            base = _between(0.8, 1.1, first)
            outlines = [_rounded(np.array([[0, -1], [base, 1], [-base, 1]]), cut)]
        case "cross":
            arm = _between(0.2, 0.36, first)
            outlines = [_rounded(_cross(arm, arm * _between(1, 1.4, second)), cut)]
        case "star":
            outlines = [_rounded(_star(5 + int(3 * second), _between(0.38, 0.55, first)), cut)]
        case "hourglass":
            outlines = [_rounded(_hourglass(_between(0.08, 0.3, first), _between(0.75, 1, second)), cut)]
        case "tee":
            outlines = [_rounded(_tee(_between(0.4, 0.65, first), _between(0.16, 0.28, second)), cut)]
    return tuple(outline * stretch for outline in outlines)


def variant_parameters(shape: Shape, variant: int) -> npt.NDArray[np.float64]:
    """Return four numbers in 0 .. 1 (aspect, two of the shape's own, corner rounding).

    A Kronecker sequence: consecutive variants lie evenly over the four dimensions, so that the test variants
    fall between the train variants instead of beside them.
    """
    assert 0 <= variant < NUM_VARIANTS
    root = 1.1673039782614187  # of x^5 = x + 1, the four-dimensional golden ratio
    steps = root ** -np.arange(1.0, 5.0)
    return (0.5 + (variant + 1 + SHAPES.index(shape) * NUM_VARIANTS) * steps) % 1


def _between(low: float, high: float, share: float) -> float:
    return float(low + (high - low) * share)


def _ellipse(radius: float, exponent: float = 2.0) -> Points:
    angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(radius * np.sign(circle) * np.abs(circle) ** (2 / exponent))


def _crescent(*, distance: float, radius: float) -> Points:
    """A unit disk from which a disk of `radius`, `distance` above its centre, is taken away."""
    corner_y = (radius**2 - 1 - distance**2) / (2 * distance)
    outer = np.linspace(0, 1, CIRCLE_POINTS // 2)
    start = np.arcsin(corner_y)
    outer_angles = start + (np.pi - 2 * start) * outer
    start = np.arcsin((corner_y + distance) / radius)
    inner_angles = (np.pi - start) + (2 * start - np.pi) * outer
    outer_arc = np.stack([np.cos(outer_angles), np.sin(outer_angles)], axis=1)
    inner_arc = radius * np.stack([np.cos(inner_angles), np.sin(inner_angles)], axis=1) - [0, distance]
    return np.concatenate([outer_arc, inner_arc])


def _trapezoid(top: float) -> Points:
    return np.array([[-top, -1], [top, -1], [1, 1], [-1, 1]], float)


def _cross(arm: float, end: float) -> Points:
    quarter = np.array([[-end, -1], [end, -1], [arm, -arm]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, number) for number in range(4)])


def _star(num_points: int, inner: float) -> Points:
    angles = np.pi * np.arange(2 * num_points) / num_points - np.pi / 2
    radii = np.where(np.arange(2 * num_points) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _hourglass(waist: float, end: float) -> Points:
    return np.array([[-end, -1], [end, -1], [waist, 0], [end, 1], [-end, 1], [-waist, 0]])


def _tee(bar: float, stem: float) -> Points:
    below = bar - 1
    return np.array(
        [[-1, -1], [1, -1], [1, below], [stem, below], [stem, 1], [-stem, 1], [-stem, below], [-1, below]]
    )


def _rounded(corners: Points, cut: float) -> Points:
    """Round the corners by cutting them twice (Chaikin); `cut` is the share of an edge that is cut first."""
    for share in (cut, 0.25):
        following = np.roll(corners, -1, axis=0)
        near, far = corners + share * (following - corners), following + share * (corners - following)
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
    return corners
