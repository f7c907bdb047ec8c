"""Sizes and matrices of every resize, flip and geometric operation.

In: sizes, factors, amounts. Out: whole sizes and 3x3 matrices, by plain arithmetic. Coordinates are continuous
and measured from edges: pixel column i covers x from i to i + 1, an image of width W covers 0 to W, a flip is
x -> W - x. Sizes are (height, width); matrices act on columns (x, y, 1).

The reference mode (`ViewSettings.interpolation`) stands here beside the default, so that what differs is seen
at one glance: which point a shear keeps in place, and how a fitted size is rounded. docs/exactness.md says why.

Shapes: B or N images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.settings import GeometricOp, Interpolation

Sizes = npt.NDArray[np.int64]
Matrices = npt.NDArray[np.float64]


def padded_size(sizes_B2: Sizes, multiple: int) -> tuple[int, int]:
    """Return the smallest (height, width) that holds every size, rounded up to `multiple`."""
    height, width = padded_sizes(sizes_B2.max(axis=0), multiple).tolist()
    return height, width


def padded_sizes(sizes: Sizes, multiple: int) -> Sizes:
    """Return the sizes, each side rounded up to `multiple`."""
    return -(-sizes // multiple) * multiple


def short_side_sizes(source_sizes_B2: Sizes, shorts_B: npt.NDArray[np.int64], long_max: int) -> Sizes:
    """Return sizes of the sources' aspect with these short sides, or shorter where `long_max` wins."""
    scales_B = np.minimum(shorts_B / source_sizes_B2.min(axis=1), long_max / source_sizes_B2.max(axis=1))
    return resize_sizes(source_sizes_B2, scales_B)


def square_sizes(shorts_B: npt.NDArray[np.int64], long_max: int, multiple: int) -> Sizes:
    """Return squares of these sides, to the nearest `multiple`: at least one, and no side above `long_max`."""
    multiples_B = np.minimum((shorts_B + multiple // 2) // multiple, long_max // multiple)
    sides_B = np.maximum(multiples_B, 1) * multiple
    return np.stack([sides_B, sides_B], axis=1).astype(np.int64)


def resize_sizes(sizes_B2: Sizes, scales_B: npt.NDArray[np.float64]) -> Sizes:
    """Return sizes times scales, rounded half up to whole pixels, at least 1."""
    return np.maximum(np.floor(sizes_B2 * scales_B[:, None] + 0.5), 1).astype(np.int64)


def fitted_sizes(
    sizes_N2: Sizes, bounds_2: Sizes, interpolation: Interpolation
) -> tuple[Sizes, npt.NDArray[np.float64] | None]:
    """Return sizes scaled by the largest factor with which they fit, rounded half up; and None.

    In reference mode fractions are cut off, as `torch.nn.functional.interpolate` does, so that an image that
    should fill its bounds may miss them by one pixel; and the factors are returned too, as boxes need them.
    """
    scales_N = (bounds_2 / sizes_N2).min(axis=1)
    if interpolation == "reference":
        return np.maximum(np.floor(sizes_N2 * scales_N[:, None]), 1).astype(np.int64), scales_N
    return np.minimum(resize_sizes(sizes_N2, scales_N), bounds_2), None


def resize_matrices(
    source_sizes_B2: Sizes,
    sizes_B2: Sizes,
    flips_B: npt.NDArray[np.bool_],
    scales_B: npt.NDArray[np.float64] | None = None,
) -> Matrices:
    """Return the (B, 3, 3) matrices of a resize to whole pixels and, where `flips_B`, a mirror after it.

    Factors are the ratios of the whole sizes, so that pixels and boxes agree exactly; `scales_B` overrides them.
    """
    factors_B2 = sizes_B2 / source_sizes_B2 if scales_B is None else np.stack([scales_B, scales_B], axis=1)
    matrices = np.zeros((len(sizes_B2), 3, 3))
    matrices[:, 0, 0] = np.where(flips_B, -factors_B2[:, 1], factors_B2[:, 1])
    matrices[:, 0, 2] = np.where(flips_B, sizes_B2[:, 1], 0)
    matrices[:, 1, 1] = factors_B2[:, 0]
    matrices[:, 2, 2] = 1
    return matrices


def geometric_matrix(
    name: GeometricOp, amount: float, *, height: int, width: int, fixed: tuple[float, float] | None = None
) -> Matrices:
    """Return the 3x3 matrix of an operation on an image of the given size.

    `amount` is in radians (rotate, clockwise as seen; shear) or a fraction of the size (translate). `fixed`:
    the point (x, y) that a rotation or shear keeps in place, the centre by default.
    """
    matrix = np.eye(3)
    match name:
        case "rotate":
            cosine, sine = np.cos(amount), np.sin(amount)
            matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
        case "shear_x":
            matrix[0, 1] = np.tan(amount)
        case "shear_y":
            matrix[1, 0] = np.tan(amount)
        case "translate_x":
            matrix[0, 2] = amount * width
        case "translate_y":
            matrix[1, 2] = amount * height
    x, y = (width / 2, height / 2) if fixed is None else fixed
    to_fixed = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    from_fixed = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    about_fixed: Matrices = to_fixed @ matrix @ from_fixed
    return about_fixed


def reference_matrices(
    name: GeometricOp, amount: float, *, height: int, width: int
) -> tuple[Matrices, Matrices]:
    """Return what the published code does to pixels, and what it does to boxes.

    It moves pixels by their centres and boxes by their edges with the same numbers: they are half a pixel apart
    before the operation, so up to 0.37 px after a rotation by 30 degrees and 0.29 px after such a shear. It
    shears about the top left corner, and translates by whole pixels, cut towards zero.
    """
    match name:
        case "rotate":
            of_pixels, of_boxes = (width / 2, height / 2), ((width - 1) / 2, (height - 1) / 2)
        case "shear_x" | "shear_y":
            of_pixels, of_boxes = (0.5, 0.5), (0.0, 0.0)
        case "translate_x" | "translate_y":
            side = width if name == "translate_x" else height
            amount = int(side * amount) / side
            of_pixels = of_boxes = (0.0, 0.0)
    pixels = geometric_matrix(name, amount, height=height, width=width, fixed=of_pixels)
    return pixels, geometric_matrix(name, amount, height=height, width=width, fixed=of_boxes)
