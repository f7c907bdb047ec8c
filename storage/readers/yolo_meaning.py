"""What many numbers behind a YOLO class mean, told by all lines of the set that have so many.

In: the lines of one count of numbers, six or more. Out: the `Meaning` that they have, or a SourceError that says
what to write or which option to give. Key points and the corners of a polygon may have the same count, and one line
often fits both. Over a set one of them fails: read as a box, most polygons leave their image, and read as corners,
centre and size of a box lie far from the points.

Shapes: L lines of C numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from storage.errors import SourceError

Shape = Literal["box", "polygon"]
Tail = Literal["score", "id"]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MIN_LINES = 10
"""Lines from which on a set is told by how its numbers lie."""
MOST = 0.9
"""Share of the lines that must fit: single lines are wrong in any set."""
SLACK = 0.02
"""Share of an image by which rounding and clipping move an edge or a point."""
_MIN_CORNERS = 6
"""Numbers of the smallest polygon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What lines of one count of numbers hold."""

    shape: Shape
    points: bool = False
    """Whether key points follow the box."""
    tail: tuple[Tail, ...] | None = ()
    """What the last numbers are; None for one whose kind the whole set tells."""

    @property
    def num_tail(self) -> int:
        """Return how many numbers stand behind the shape."""
        return 1 if self.tail is None else len(self.tail)


BOX = Meaning(shape="box")
POLYGON = Meaning(shape="polygon")
POINTS = Meaning(shape="box", points=True)


def long_meaning(values_LC: Floats, place: str) -> Meaning | None:
    """Return what lines of six or more numbers hold, all of one count; None where they are neither.

    Raises SourceError, which names the first of them as `place`, where they may be either.
    """
    num_lines, count = values_LC.shape
    polygons = float(_fits_polygon(values_LC[:, : count - count % 2]).mean())
    numbered = [meaning for meaning, fits_L in _with_whole_numbers(values_LC) if fits_L.mean() >= MOST]
    if len(numbered) == 1 and (num_lines >= MIN_LINES or polygons < MOST):
        return numbered[0]
    if count % 2:
        return Meaning(shape="polygon", tail=None) if num_lines >= MIN_LINES and polygons >= MOST else None
    points = float((_fits_box(values_LC) & _fits_points(values_LC, 2)).mean())
    if _are_turned_boxes(values_LC) or points <= 0.5 or (points < MOST <= polygons):
        return POLYGON
    if points >= MOST > polygons and num_lines >= MIN_LINES:
        return POINTS
    raise SourceError(
        f"expected lines that tell whether {count} numbers are a box with key points or the corners of a polygon, "
        f"got {num_lines:,} that may be either: {place}; write kpt_shape into data.yaml, or give --columns "
        "key-points or --columns polygons"
    )


def _with_whole_numbers(values_LC: Floats) -> list[tuple[Meaning, Mask]]:
    """Return the meanings with a column of whole numbers, and which lines fit each."""
    count = values_LC.shape[1]
    scored_L = _is_score(values_LC[:, -2]) & _is_whole(values_LC[:, -1])
    meanings: list[tuple[Meaning, Mask]] = []
    if (count - 4) % 3 == 0:
        seen_L = np.isin(values_LC[:, 6::3], (0, 1, 2)).all(axis=1)
        meanings.append((POINTS, seen_L & _fits_box(values_LC) & _fits_points(values_LC, 3)))
    if count == 6:
        meanings.append((Meaning(shape="box", tail=("score", "id")), scored_L & _fits_box(values_LC)))
    elif count % 2 == 0:
        fits_L = scored_L & _fits_polygon(values_LC[:, :-2])
        meanings.append((Meaning(shape="polygon", tail=("score", "id")), fits_L))
    return meanings


def _fits_box(values_LC: Floats) -> Mask:
    """Return which lines begin with a box inside its image."""
    centres_L2, sizes_L2 = values_LC[:, :2], values_LC[:, 2:4]
    inside_L2 = (centres_L2 - sizes_L2 / 2 >= -SLACK) & (centres_L2 + sizes_L2 / 2 <= 1 + SLACK)
    return np.asarray(inside_L2.all(axis=1) & (sizes_L2 > 0).all(axis=1))


def _fits_points(values_LC: Floats, num_each: int) -> Mask:
    """Return which lines go on with points in their box; one at 0 0 is not in the image."""
    points_LK2 = values_LC[:, 4:].reshape(len(values_LC), -1, num_each)[..., :2]
    centres_L12, sizes_L12 = values_LC[:, None, :2], values_LC[:, None, 2:4]
    inside_LK = (np.abs(points_LK2 - centres_L12) <= 0.6 * sizes_L12 + SLACK).all(axis=2)
    return np.asarray((inside_LK | (points_LK2 == 0).all(axis=2)).all(axis=1))


def _fits_polygon(values_LC: Floats) -> Mask:
    """Return which lines are corners in the image, the second near the others, and at most one at 0 0."""
    if values_LC.shape[1] < _MIN_CORNERS:
        return np.zeros(len(values_LC), bool)
    corners_LK2 = values_LC.reshape(len(values_LC), -1, 2)
    inside_L = ((corners_LK2 >= -SLACK) & (corners_LK2 <= 1 + SLACK)).all(axis=(1, 2))
    others_LK2 = np.delete(corners_LK2, 1, axis=1)
    extents_L = (others_LK2.max(axis=1) - others_LK2.min(axis=1)).max(axis=1)
    steps_L = np.abs(corners_LK2[:, 1] - corners_LK2[:, 0]).max(axis=1)
    zeros_L = (corners_LK2 == 0).all(axis=2).sum(axis=1)
    return np.asarray(inside_L & (steps_L <= 2 * extents_L + SLACK) & (zeros_L <= 1))


def _are_turned_boxes(values_LC: Floats) -> bool:
    """Return whether most lines are the four corners of a turned rectangle: opposite sides are alike."""
    if values_LC.shape[1] != 8:
        return False
    corners_LK2 = values_LC.reshape(-1, 4, 2)
    misfits_L2 = np.abs(corners_LK2[:, 0] - corners_LK2[:, 1] + corners_LK2[:, 2] - corners_LK2[:, 3])
    extents_L = (corners_LK2.max(axis=1) - corners_LK2.min(axis=1)).max(axis=1)
    return bool((misfits_L2.max(axis=1) <= 0.05 * extents_L).mean() >= 0.5)


def _is_whole(values: Floats) -> Mask:
    return np.asarray(values % 1 == 0)


def _is_score(values: Floats) -> Mask:
    return np.asarray((values >= 0) & (values <= 1))
