"""Plans of views: the geometry and colour of every output image, before a pixel is touched.

In: a random generator, the settings, the source sizes. Out: a `ViewPlan`, which DALI executes on pixels
(views.py) and one compiled kernel on boxes (boxes.py). A plan is a pure function of its arguments: no label,
no pixel, no hidden state.

Coordinates are continuous and measured from edges: pixel column i covers x from i to i + 1, an image of width
W covers 0 to W, a flip is x -> W - x. Sizes are (height, width); matrices act on columns (x, y, 1).
Shapes: B images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.settings import COLOUR_OPS, GeometricOp, ViewSettings

Sizes = npt.NDArray[np.int64]
Matrices = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ViewPlan:
    """One view of each of B images."""

    source_sizes_B2: Sizes
    """(height, width) of the images as decoded."""
    sizes_B2: Sizes
    """(height, width) of the views, before padding."""
    matrices_B33: Matrices
    """Source pixels to view pixels: resize, then flip, then the geometric operation."""
    flips_B: npt.NDArray[np.bool_]
    """Whether the view is mirrored left to right."""
    colour_ops_B: npt.NDArray[np.int64]
    """Index into `settings.COLOUR_OPS`."""
    colour_values_B: npt.NDArray[np.float64]
    """Factor, bits to remove, or level of the colour operation; 1 where it takes none."""
    colour_first_B: npt.NDArray[np.bool_]
    """Whether the colour operation comes before the geometric one."""
    pad_multiple: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sizes_B2)

    @property
    def padded_size(self) -> tuple[int, int]:
        """Return the (height, width) of the batch tensor that holds these views."""
        return padded_size(self.sizes_B2, self.pad_multiple)


def plan_weak(rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the teacher's views: random resize and flip."""
    return _resized_and_flipped(rng, settings, _checked(source_sizes_B2))


def plan_strong(rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the student's views: random resize and flip, one colour and one geometric operation."""
    plan = _resized_and_flipped(rng, settings, _checked(source_sizes_B2))
    ops_B, values_B = _draw_colours(rng, settings, len(plan))
    geometry_B33 = np.stack([_draw_geometry(rng, settings, size) for size in plan.sizes_B2])
    return ViewPlan(
        source_sizes_B2=plan.source_sizes_B2,
        sizes_B2=plan.sizes_B2,
        matrices_B33=geometry_B33 @ plan.matrices_B33,
        flips_B=plan.flips_B,
        colour_ops_B=ops_B,
        colour_values_B=values_B,
        colour_first_B=rng.random(len(plan)) < 0.5,
        pad_multiple=settings.pad_multiple,
    )


def plan_labeled(
    rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: npt.ArrayLike
) -> ViewPlan:
    """Return the supervised views: random resize and flip, one colour operation."""
    plan = _resized_and_flipped(rng, settings, _checked(source_sizes_B2))
    ops_B, values_B = _draw_colours(rng, settings, len(plan))
    return ViewPlan(
        source_sizes_B2=plan.source_sizes_B2,
        sizes_B2=plan.sizes_B2,
        matrices_B33=plan.matrices_B33,
        flips_B=plan.flips_B,
        colour_ops_B=ops_B,
        colour_values_B=values_B,
        colour_first_B=plan.colour_first_B,
        pad_multiple=settings.pad_multiple,
    )


def plan_test(settings: ViewSettings, source_sizes_B2: npt.ArrayLike) -> ViewPlan:
    """Return the views that predictions are made on: a resize, nothing drawn."""
    source_sizes = _checked(source_sizes_B2)
    shorts_B = np.full(len(source_sizes), settings.test_short)
    flips_B = np.zeros(len(source_sizes), bool)
    return _resize_plan(source_sizes, shorts_B, settings.test_long_max, flips_B, settings.pad_multiple)


def padded_size(sizes_B2: Sizes, multiple: int) -> tuple[int, int]:
    """Return the smallest (height, width) that holds every size, rounded up to `multiple`."""
    height, width = (-(-int(side) // multiple) * multiple for side in sizes_B2.max(axis=0))
    return height, width


def resize_sizes(sizes_B2: Sizes, scales_B: npt.NDArray[np.float64]) -> Sizes:
    """Return sizes times scales, rounded half up to whole pixels, at least 1."""
    return np.maximum(np.floor(sizes_B2 * scales_B[:, None] + 0.5), 1).astype(np.int64)


def resize_matrices(source_sizes_B2: Sizes, sizes_B2: Sizes, flips_B: npt.NDArray[np.bool_]) -> Matrices:
    """Return the (B, 3, 3) matrices of a resize to whole pixels and, where `flips_B`, a mirror after it.

    Scales are the ratios of the whole sizes, so that pixels and boxes agree exactly.
    """
    scales_B2 = sizes_B2 / source_sizes_B2
    matrices = np.zeros((len(sizes_B2), 3, 3))
    matrices[:, 0, 0] = np.where(flips_B, -scales_B2[:, 1], scales_B2[:, 1])
    matrices[:, 0, 2] = np.where(flips_B, sizes_B2[:, 1], 0)
    matrices[:, 1, 1] = scales_B2[:, 0]
    matrices[:, 2, 2] = 1
    return matrices


def _checked(source_sizes_B2: npt.ArrayLike) -> Sizes:
    sizes = np.asarray(source_sizes_B2, np.int64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or len(sizes) == 0 or sizes.min() < 1:
        raise ValueError(
            f"source sizes: got {sizes.tolist()}, expected rows of (height, width), each at least 1"
        )
    return sizes


def _resized_and_flipped(
    rng: np.random.Generator, settings: ViewSettings, source_sizes_B2: Sizes
) -> ViewPlan:
    shorts_B = rng.integers(*settings.short_range, size=len(source_sizes_B2), endpoint=True)
    flips_B = rng.random(len(source_sizes_B2)) < settings.flip
    return _resize_plan(source_sizes_B2, shorts_B, settings.long_max, flips_B, settings.pad_multiple)


def _resize_plan(
    source_sizes_B2: Sizes,
    shorts_B: npt.NDArray[np.int64],
    long_max: int,
    flips_B: npt.NDArray[np.bool_],
    pad_multiple: int,
) -> ViewPlan:
    scales_B = np.minimum(shorts_B / source_sizes_B2.min(axis=1), long_max / source_sizes_B2.max(axis=1))
    sizes_B2 = resize_sizes(source_sizes_B2, scales_B)
    num_images = len(sizes_B2)
    return ViewPlan(
        source_sizes_B2=source_sizes_B2,
        sizes_B2=sizes_B2,
        matrices_B33=resize_matrices(source_sizes_B2, sizes_B2, flips_B),
        flips_B=flips_B,
        colour_ops_B=np.full(num_images, COLOUR_OPS.index("identity")),
        colour_values_B=np.ones(num_images),
        colour_first_B=np.ones(num_images, bool),
        pad_multiple=pad_multiple,
    )


def _draw_colours(
    rng: np.random.Generator, settings: ViewSettings, num_images: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the operation's code and value of each image; no operations: the identity."""
    if not settings.colour_ops:
        return np.full(num_images, COLOUR_OPS.index("identity")), np.ones(num_images)
    names = [settings.colour_ops[i] for i in rng.integers(len(settings.colour_ops), size=num_images)]
    values_B = np.ones(num_images)
    for index, name in enumerate(names):
        match name:
            case "sharpness" | "saturation" | "contrast" | "brightness":
                values_B[index] = rng.uniform(*settings.enhance_range)
            case "posterize":
                values_B[index] = rng.integers(settings.posterize_bits, endpoint=True)
            case "solarize":
                values_B[index] = rng.uniform(*settings.solarize_range)
            case "identity" | "auto_contrast" | "equalize":
                pass
    return np.array([COLOUR_OPS.index(name) for name in names]), values_B


def _draw_geometry(rng: np.random.Generator, settings: ViewSettings, size_2: Sizes) -> Matrices:
    """Return the matrix of one geometric operation in the pixels of a view of `size_2`."""
    if not settings.geometric_ops:
        return np.eye(3)
    name = settings.geometric_ops[rng.integers(len(settings.geometric_ops))]
    amount = rng.uniform(-1, 1)
    match name:
        case "rotate":
            amount *= np.deg2rad(settings.rotate_degrees)
        case "shear_x" | "shear_y":
            amount *= np.deg2rad(settings.shear_degrees)
        case "translate_x" | "translate_y":
            amount *= settings.translate_fraction
    return geometric_matrix(name, amount, height=int(size_2[0]), width=int(size_2[1]))


def geometric_matrix(name: GeometricOp, amount: float, *, height: int, width: int) -> Matrices:
    """Return the 3x3 matrix of an operation about the centre of an image of the given size.

    `amount` is in radians (rotate, clockwise as seen; shear) or a fraction of the size (translate).
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
    to_centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    about_centre: Matrices = to_centre @ matrix @ from_centre
    return about_centre
