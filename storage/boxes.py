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
