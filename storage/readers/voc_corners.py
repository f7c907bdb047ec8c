"""How the corners of a Pascal VOC set count: from pixel 1 as VOC does, or otherwise, as tools do.

In: the corners of all objects as they are written, and the sizes of their images. Out: edges in continuous pixels
from 0, and a remark where the set does not count as VOC does. Which it is shows in the whole set, never in one box:

    pixels-from-1    VOC: pixels count from 1 and the last one is part of the box; xmin - 1 .. xmax
    edges-from-0     Label Studio wrote it, a near corner lies before 1, or corners have fractions: xmin .. xmax
    edges-from-1     a far corner lies one pixel beyond its image, as Roboflow writes it: xmin - 1 .. xmax - 1

A slip in one file is no evidence: against each corner that speaks for another count, ten that lie on the border of
their image as VOC writes it (a near one at 1, a far one at the size) outweigh it. Boxes around polygons are edges.

Shapes: A annotations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from storage.problems import Problems

Corners = Literal["auto", "pixels-from-1", "edges-from-0", "edges-from-1"]
MAX_SLIPS = 0.1
"""Share of the corners at the border below which those of another count are slips."""
MIN_FRACTIONS = 0.1
"""Share of boxes with fractions from which on corners are no pixels; VOC 2012 has some in 0.1 %."""
_SHIFTS = {"pixels-from-1": (1, 1, 0, 0), "edges-from-0": (0, 0, 0, 0), "edges-from-1": (1, 1, 1, 1)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WrittenBoxes:
    """Corners as they stand in the annotation files."""

    corners_A4: npt.NDArray[np.float64]
    """xmin, ymin, xmax, ymax."""
    sizes_A2: npt.NDArray[np.int32]
    """Height and width of the image; 0 where it is not known."""
    is_bndbox_A: npt.NDArray[np.bool_]
    """Else the edges around another outline."""
    has_score_A: npt.NDArray[np.bool_]
    is_from_zero_A: npt.NDArray[np.bool_]
    """Whether the tool that wrote it is known to count edges from 0."""
    describe: Callable[[int], str]


def edges_of(
    boxes: WrittenBoxes, corners: Corners, problems: Problems
) -> tuple[npt.NDArray[np.float64], Corners]:
    """Return the edges xyxy of all boxes and how corners count; what that was taken from is a remark."""
    count = corners if corners != "auto" else _recognised(boxes, problems)
    edges_A4 = boxes.corners_A4.copy()
    edges_A4[boxes.is_bndbox_A] -= _SHIFTS[count]
    return edges_A4, count


def _recognised(boxes: WrittenBoxes, problems: Problems) -> Corners:
    near_A2, far_A2 = boxes.corners_A4[:, :2], boxes.corners_A4[:, 2:]
    sides_A2 = boxes.sizes_A2[:, ::-1]
    known_A2 = boxes.is_bndbox_A[:, None] & (sides_A2 > 0)
    before_A2 = boxes.is_bndbox_A[:, None] & (near_A2 >= 0) & (near_A2 < 1)
    beyond_A2 = known_A2 & (far_A2 > sides_A2) & (far_A2 <= sides_A2 + 1)

    def remark(what: str, corners_AN: npt.NDArray[np.bool_]) -> None:
        rows_A = np.flatnonzero(corners_AN.any(axis=1))
        problems.remark_rows(f"{what}; --corners says it otherwise)", rows_A, boxes.describe)

    if boxes.is_from_zero_A.sum() * 2 > len(boxes.is_from_zero_A):
        remark(
            "object of Label Studio (all corners of the set taken as edges from 0",
            boxes.is_from_zero_A[:, None],
        )
        return "edges-from-0"
    if _outweighs(before_A2, boxes.is_bndbox_A[:, None] & (near_A2 == 1)):
        remark("corner from 0 (all corners of the set taken as edges from 0", before_A2)
        return "edges-from-0"
    if _outweighs(beyond_A2, known_A2 & (far_A2 == sides_A2)):
        remark("corner one pixel beyond (all corners of the set taken as edges from 1", beyond_A2)
        return "edges-from-1"
    # A round of labels leaves with scores, in VOC's count and yet with fractions.
    fractions_A4 = (boxes.corners_A4 % 1 != 0) & (boxes.is_bndbox_A & ~boxes.has_score_A)[:, None]
    if fractions_A4.any(axis=1).sum() > MIN_FRACTIONS * len(fractions_A4):
        remark("corner with a fraction (all corners of the set taken as edges from 0", fractions_A4)
        return "edges-from-0"
    remark("corner at 0 in a set that counts from 1 (moved to the edge", before_A2)
    remark("corner one pixel beyond in a set that counts from 1 (moved to the edge", beyond_A2)
    return "pixels-from-1"


def _outweighs(evidence_A2: npt.NDArray[np.bool_], against_A2: npt.NDArray[np.bool_]) -> bool:
    return int(evidence_A2.sum()) > MAX_SLIPS * int(against_A2.sum())
