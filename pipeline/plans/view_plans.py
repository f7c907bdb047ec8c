"""Plans of views: the geometry and colour of every output image, before a pixel is touched.

In: a random generator, the settings, the source sizes. Out: a `ViewPlan`, which DALI executes on pixels
(views.py) and one compiled kernel on boxes (move_boxes.py). A plan is a pure function of its arguments: no label,
no pixel, no hidden state. It is made in two steps: chance gives a `ViewDraw` an image, and `view_plan` makes
the plan of the draws. Draws recorded elsewhere go the same way (replay.py).

Coordinates, sizes and matrices are those of geometry.py. Shapes: B images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.plans.geometry import (
    Matrices,
    Sizes,
    geometric_matrix,
    padded_size,
    padded_sizes,
    reference_matrices,
    resize_matrices,
    short_side_sizes,
    square_sizes,
)
from pipeline.settings import COLOUR_OPS, GEOMETRIC_OPS, ColourOp, GeometricOp, Interpolation, ViewSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewDraw:
    """What chance decides about the view of one image; the defaults are a plain resize."""

    size: tuple[int, int]
    """(height, width) of the view."""
    flip: bool = False
    """Whether it is mirrored left to right."""
    colour: ColourOp = "identity"
    colour_value: float = 1.0
    """Factor (1 leaves the image as it is), bits that posterize removes, or level of solarize."""
    geometry: GeometricOp | None = None
    amount: float = 0.0
    """Radians of a rotation (clockwise) or shear; fraction of the side of a translation."""
    colour_first: bool = True
    """Whether the colour operation comes before the geometric one."""

    def __post_init__(self) -> None:
        """Refuse what no view can be made with."""
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size of a view: got {self.size}, expected (height, width), each at least 1")
        if self.colour not in COLOUR_OPS:
            raise ValueError(f"colour: got {self.colour!r}, expected any of {', '.join(COLOUR_OPS)}")
        if self.geometry is not None and self.geometry not in GEOMETRIC_OPS:
            raise ValueError(
                f"geometry: got {self.geometry!r}, expected None or any of {', '.join(GEOMETRIC_OPS)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ViewPlan:
    """One view of each of B images."""

    source_sizes_B2: Sizes
    """(height, width) of the images as decoded."""
    sizes_B2: Sizes
    """(height, width) of the views, before padding."""
    matrices_B33: Matrices
    """Source pixels to view pixels: resize, then flip, then the geometric operation."""
    geometry_B33: Matrices
    """The geometric operation alone, view pixels to view pixels; the identity where there is none."""
    box_matrices_B33: Matrices
    """As `matrices_B33`, for boxes. The same numbers, but for the geometric operations of the reference mode."""
    flips_B: npt.NDArray[np.bool_]
    """Whether the view is mirrored left to right."""
    colour_ops_B: npt.NDArray[np.int64]
    """Index into `settings.COLOUR_OPS`."""
    colour_values_B: npt.NDArray[np.float64]
    """Factor, bits to remove, or level of the colour operation; 1 where it takes none."""
    colour_first_B: npt.NDArray[np.bool_]
    """Whether the colour operation comes before the geometric one."""
    pad_multiple: int
    interpolation: Interpolation
    """That of the settings; the graph that executes the plan must have the same."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sizes_B2)

    @property
    def padded_size(self) -> tuple[int, int]:
        """Return the (height, width) of the batch tensor that holds these views."""
        return padded_size(self.sizes_B2, self.pad_multiple)


def plan_weak(rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the teacher's views: random resize and flip."""
    sizes_B2 = _checked(source_sizes_B2)
    return view_plan(settings, sizes_B2, _draw_resizes(rng, settings, sizes_B2))


def plan_strong(rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the student's views: random resize and flip, one colour and one geometric operation."""
    sizes_B2 = _checked(source_sizes_B2)
    draws = _draw_colours(rng, settings, _draw_resizes(rng, settings, sizes_B2))
    return view_plan(settings, sizes_B2, _draw_geometry(rng, settings, draws))


def plan_labeled(
    rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike
) -> ViewPlan:
    """Return the supervised views: random resize and flip, one colour operation."""
    sizes_B2 = _checked(source_sizes_B2)
    draws = _draw_colours(rng, settings, _draw_resizes(rng, settings, sizes_B2))
    return view_plan(settings, sizes_B2, draws)


def plan_test(settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the views that predictions are made on: a resize, nothing drawn."""
    sizes_B2 = _checked(source_sizes_B2)
    view_sizes = _sizes_to_predict(settings, sizes_B2).tolist()
    return view_plan(settings, sizes_B2, [ViewDraw(size=(size[0], size[1])) for size in view_sizes])


def padded_test_sizes(settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> Sizes:
    """Return the (height, width) that `plan_test` pads each image to when it stands alone in a batch."""
    return padded_sizes(_sizes_to_predict(settings, _checked(source_sizes_B2)), settings.pad_multiple)


def _sizes_to_predict(settings: ViewSettings, source_sizes_B2: Sizes) -> Sizes:
    shorts_B = np.full(len(source_sizes_B2), settings.test_short)
    return _resized(settings, source_sizes_B2, shorts_B, settings.test_long_max)


def _resized(
    settings: ViewSettings, source_sizes_B2: Sizes, shorts_B: npt.NDArray[np.int64], long_max: int
) -> Sizes:
    match settings.resize:
        case "short_side":
            return short_side_sizes(source_sizes_B2, shorts_B, long_max)
        case "square":
            return square_sizes(shorts_B, long_max, settings.pad_multiple)


def view_plan(settings: ViewSettings, source_sizes_B2: npt.ArrayLike, draws: Sequence[ViewDraw]) -> ViewPlan:
    """Return the plan of these draws, one an image; nothing else decides about a view."""
    source_sizes = _checked(source_sizes_B2)
    if len(draws) != len(source_sizes):
        raise ValueError(
            f"draws of views: got {len(draws)}, expected one for each of {len(source_sizes)} images"
        )
    sizes_B2 = np.array([draw.size for draw in draws], np.int64)
    flips_B = np.array([draw.flip for draw in draws], bool)
    resize_B33 = resize_matrices(source_sizes, sizes_B2, flips_B)
    pixels, boxes = zip(*(_geometry(settings, draw) for draw in draws), strict=True)
    geometry_B33 = np.stack(pixels)
    matrices_B33 = geometry_B33 @ resize_B33
    return ViewPlan(
        source_sizes_B2=source_sizes,
        sizes_B2=sizes_B2,
        matrices_B33=matrices_B33,
        geometry_B33=geometry_B33,
        box_matrices_B33=matrices_B33 if settings.interpolation == "linear" else np.stack(boxes) @ resize_B33,
        flips_B=flips_B,
        colour_ops_B=np.array([COLOUR_OPS.index(draw.colour) for draw in draws]),
        colour_values_B=np.array([draw.colour_value for draw in draws], np.float64),
        colour_first_B=np.array([draw.colour_first for draw in draws], bool),
        pad_multiple=settings.pad_multiple,
        interpolation=settings.interpolation,
    )


def _geometry(settings: ViewSettings, draw: ViewDraw) -> tuple[Matrices, Matrices]:
    """Return the matrix of a draw's geometric operation for pixels and for boxes."""
    height, width = draw.size
    if draw.geometry is None:
        return np.eye(3), np.eye(3)
    if settings.interpolation == "reference":
        return reference_matrices(draw.geometry, draw.amount, height=height, width=width)
    matrix = geometric_matrix(draw.geometry, draw.amount, height=height, width=width)
    return matrix, matrix


def _checked(source_sizes_B2: npt.ArrayLike) -> Sizes:
    sizes = np.asarray(source_sizes_B2, np.int64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or len(sizes) == 0 or sizes.min() < 1:
        raise ValueError(
            f"source sizes: got {sizes.tolist()}, expected rows of (height, width), each at least 1"
        )
    return sizes


def _draw_resizes(rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: Sizes) -> list[ViewDraw]:
    shorts_B = rng.integers(*settings.short_range, size=len(source_sizes_B2), endpoint=True)
    flips_B = rng.random(len(source_sizes_B2)) < settings.flip
    sizes_B2 = _resized(settings, source_sizes_B2, shorts_B, settings.long_max)
    return [
        ViewDraw(size=(height, width), flip=flip)
        for (height, width), flip in zip(sizes_B2.tolist(), flips_B.tolist(), strict=True)
    ]


def _draw_colours(
    rng: np.random.Generator, settings: ViewSettings, draws: Sequence[ViewDraw]
) -> list[ViewDraw]:
    """Return the draws with a colour operation each; no operations: as they are."""
    if not settings.colour_ops:
        return list(draws)
    names = [settings.colour_ops[index] for index in rng.integers(len(settings.colour_ops), size=len(draws))]
    return [
        replace(draw, colour=name, colour_value=_draw_colour_value(rng, settings, name))
        for draw, name in zip(draws, names, strict=True)
    ]


def _draw_colour_value(rng: np.random.Generator, settings: ViewSettings, name: ColourOp) -> float:
    match name:
        case "sharpness" | "saturation" | "contrast" | "brightness":
            return rng.uniform(*settings.enhance_range)
        case "posterize":
            return float(rng.integers(*settings.posterize_range, endpoint=True))
        case "solarize":
            return rng.uniform(*settings.solarize_range)
        case "identity" | "auto_contrast" | "equalize":
            return 1.0


def _draw_geometry(
    rng: np.random.Generator, settings: ViewSettings, draws: Sequence[ViewDraw]
) -> list[ViewDraw]:
    """Return the draws with a geometric operation each, before or after their colour operation."""
    operations: list[tuple[GeometricOp | None, float]] = [(None, 0.0)] * len(draws)
    for index in range(len(draws) if settings.geometric_ops else 0):
        name = settings.geometric_ops[rng.integers(len(settings.geometric_ops))]
        operations[index] = name, rng.uniform(-1, 1) * _largest_amount(settings, name)
    firsts = (rng.random(len(draws)) < 0.5).tolist()
    return [
        replace(draw, geometry=name, amount=amount, colour_first=first)
        for draw, (name, amount), first in zip(draws, operations, firsts, strict=True)
    ]


def _largest_amount(settings: ViewSettings, name: GeometricOp) -> float:
    match name:
        case "rotate":
            return float(np.deg2rad(settings.rotate_degrees))
        case "shear_x" | "shear_y":
            return float(np.deg2rad(settings.shear_degrees))
        case "translate_x" | "translate_y":
            return settings.translate_fraction
