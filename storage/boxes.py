"""The one place of plain box geometry: conversions, areas, clipping, validity.

In and out: numpy arrays of N boxes, xyxy in absolute pixels (`xywh` only where a name says so). Pure
functions; the float type of the input is kept. Matrices and batches of views are the pipeline's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.floating[Any]]

SMALL_AREA = 32.0**2
"""COCO: small is below this area, in square pixels."""
LARGE_AREA = 96.0**2
"""COCO: large is from this area upwards; between the two is medium."""
TINY_AREA = 16.0**2
"""Ours: tiny is the part of small below this area, for data sets of small images."""


def xywh_to_xyxy(boxes_xywh_N4: Boxes) -> Boxes:
    """Return corner boxes of boxes given as left, top, width, height."""
    return np.concatenate(
        [boxes_xywh_N4[:, :2], boxes_xywh_N4[:, :2] + boxes_xywh_N4[:, 2:]], axis=1, dtype=boxes_xywh_N4.dtype
    )


def xyxy_to_xywh(boxes_N4: Boxes) -> Boxes:
    """Return boxes as left, top, width, height."""
    return np.concatenate([boxes_N4[:, :2], boxes_N4[:, 2:] - boxes_N4[:, :2]], axis=1, dtype=boxes_N4.dtype)


def upright(boxes_N4: Boxes, *, orientation: int, width: int, height: int) -> Boxes:
    """Return boxes of a stored image of this size where they lie once it is turned as EXIF says."""
    x1_N, y1_N, x2_N, y2_N = boxes_N4.T
    left_N, right_N, top_N, bottom_N = width - x2_N, width - x1_N, height - y2_N, height - y1_N
    match orientation:
        case 2:
            sides = left_N, y1_N, right_N, y2_N
        case 3:
            sides = left_N, top_N, right_N, bottom_N
        case 4:
            sides = x1_N, top_N, x2_N, bottom_N
        case 5:
            sides = y1_N, x1_N, y2_N, x2_N
        case 6:
            sides = top_N, x1_N, bottom_N, x2_N
        case 7:
            sides = top_N, left_N, bottom_N, right_N
        case 8:
            sides = y1_N, left_N, y2_N, right_N
        case _:
            return boxes_N4
    return np.stack(sides, axis=1).astype(boxes_N4.dtype)


def area(boxes_N4: Boxes) -> Boxes:
    """Return width times height, shape (N,); 0 for an inverted box."""
    sides_N2: Boxes = np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 0)
    return np.asarray(sides_N2[:, 0] * sides_N2[:, 1])


def clip(boxes_N4: Boxes, *, width: npt.ArrayLike, height: npt.ArrayLike) -> Boxes:
    """Return the boxes cut to 0..width and 0..height; sizes are one number or one per box."""
    bounds_N4 = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    return np.clip(boxes_N4, 0, bounds_N4).astype(boxes_N4.dtype)


def valid(boxes_N4: Boxes, *, min_side: float = 0.0) -> npt.NDArray[np.bool_]:
    """Return which boxes are finite and have both sides longer than `min_side` pixels, shape (N,)."""
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    return np.asarray(np.isfinite(boxes_N4).all(axis=1) & (sides_N2 > min_side).all(axis=1))
