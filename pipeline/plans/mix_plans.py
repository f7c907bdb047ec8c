"""Plans of mixing: where each strong view goes in the student's images, and what is erased of it.

In: a random generator, the settings, the sizes of the current and the cached strong views. Out: a `MixPlan`,
which DALI executes on pixels (mixing.py) and one compiled kernel on boxes (move_boxes.py). It is made in two steps:
chance gives draws (mix_draws.py), and `mixup_plan` and `mosaic_plan` make plans of them. Coordinates and sizes
are those of geometry.py; offsets are (y, x), patches and boxes xyxy. Numbers from the MixPL paper (arXiv
2312.07006).

Shapes: B current images, K cached ones (oldest first), N images of a layer, P patches of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.plans.geometry import Matrices, Sizes, fitted_sizes, padded_size, resize_matrices
from pipeline.plans.mix_draws import (
    MixupDraw,
    MosaicDraw,
    Patches,
    Positions,
    draw_mixup,
    draw_mosaic,
    draw_unmixed,
)
from pipeline.settings import MixSettings, ViewSettings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layer:
    """N strong views, each resized, flipped, placed on a canvas of its own, and erased there."""

    source_sizes_N2: Sizes
    """(height, width) of the strong views."""
    sizes_N2: Sizes
    """(height, width) after the resize."""
    flips_N: npt.NDArray[np.bool_]
    offsets_N2: Sizes
    """(y, x) of the resized image's corner on the canvas, whole pixels."""
    patches_P4: npt.NDArray[np.int64]
    """Erased rectangles, xyxy in canvas pixels, inside the placed image."""
    patch_offsets_N1: npt.NDArray[np.int64]
    """N + 1 ascending row numbers: image n owns patches from `[n]` to `[n + 1]`."""
    drop_ratio: float
    """A box that the patches cover by this share or more is dropped (`MixSettings.drop_ratio`)."""
    scales_N: npt.NDArray[np.float64] | None = None
    """Reference mode: the factor of each resize before its size was rounded. Boxes are scaled by it, and pixel i
    is pixel floor(i / scale) of the source. None: bilinear, by the ratio of the sizes."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sizes_N2)

    @property
    def matrices_N33(self) -> Matrices:  # noqa: N802  (shape suffix)
        """Return the matrices that take boxes from the strong view to the canvas."""
        matrices = resize_matrices(self.source_sizes_N2, self.sizes_N2, self.flips_N, self.scales_N)
        matrices[:, 0, 2] += self.offsets_N2[:, 1]
        matrices[:, 1, 2] += self.offsets_N2[:, 0]
        return matrices


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixupPlan:
    """The student's B images: each strong view, erased, and mixed with a partner where there is one."""

    current: Layer
    partner: Layer | None
    """None while the cache is not full, or mixup is off."""
    partner_positions_B: Positions
    """Cache position of each partner, 0 = oldest; empty without partners."""
    weights: tuple[float, ...]
    """Weight of each layer: one number, or two."""
    canvas_sizes_B2: Sizes
    """(height, width) of the mixed images, before padding."""
    padded_size: tuple[int, int]
    """(height, width) of the batch tensor."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return the one or two layers, the current first."""
        return (self.current,) if self.partner is None else (self.current, self.partner)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MosaicPlan:
    """One image of four cached strong views: top left, top right, bottom left, bottom right."""

    tiles: Layer
    """Four images; offsets and patches are in the pixels of the whole mosaic."""
    positions_4: Positions
    """Cache position of each tile, 0 = oldest."""
    canvas_size: tuple[int, int]
    """(height, width): twice the quadrant."""
    padded_size: tuple[int, int]
    """(height, width) of the tensor."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixPlan:
    """Everything that the student sees of the unlabeled images of one step."""

    mixup: MixupPlan
    mosaic: MosaicPlan | None
    """None while the cache is not full, or mosaic is off."""


def plan_mix(
    rng: np.random.Generator,
    settings: MixSettings,
    view: ViewSettings,
    current_sizes_B2: npt.ArrayLike,
    cached_sizes_K2: npt.ArrayLike,
) -> MixPlan:
    """Draw one step's mixing from the sizes alone; `cached_sizes_K2` is the cache before this step.

    Nothing is mixed until the cache holds `settings.capacity(B)` images. Of `view` the padding and the way to
    resample count.
    """
    current = np.asarray(current_sizes_B2, np.int64)
    cached = np.asarray(cached_sizes_K2, np.int64).reshape(-1, 2)
    full = len(cached) >= settings.capacity(len(current))
    if full and settings.mixup:
        draw = draw_mixup(rng, settings, view, current, cached)
    else:
        draw = draw_unmixed(rng, settings, current)
    mixup = mixup_plan(settings, view, draw, current, cached)
    if not (full and settings.mosaic):
        return MixPlan(mixup=mixup, mosaic=None)
    tiles = draw_mosaic(rng, settings, view, len(current), cached)
    return MixPlan(mixup=mixup, mosaic=mosaic_plan(settings, view, tiles, cached))


def mixup_plan(
    settings: MixSettings,
    view: ViewSettings,
    draw: MixupDraw,
    current_sizes_B2: npt.ArrayLike,
    cached_sizes_K2: npt.ArrayLike,
) -> MixupPlan:
    """Return the plan of these draws; partners are fitted to the padded size of the batch, always flipped."""
    sizes_B2 = np.asarray(current_sizes_B2, np.int64)
    if not len(draw.positions_B):
        return _unmixed(settings, draw, sizes_B2, view.pad_multiple)
    sources_B2 = _at(cached_sizes_K2, draw.positions_B)
    bounds_2 = np.array(padded_size(sizes_B2, view.pad_multiple))
    partner_sizes_B2, scales_B = fitted_sizes(sources_B2, bounds_2, view.interpolation)
    canvas_B2 = np.maximum(sizes_B2, partner_sizes_B2)
    _require_on_canvas(draw.current_offsets_B2, sizes_B2, canvas_B2)
    _require_on_canvas(draw.partner_offsets_B2, partner_sizes_B2, canvas_B2)
    return MixupPlan(
        current=plan_layer(
            settings, sizes_B2, offsets_N2=draw.current_offsets_B2, patches=draw.current_patches
        ),
        partner=plan_layer(
            settings,
            sources_B2,
            partner_sizes_B2,
            offsets_N2=draw.partner_offsets_B2,
            patches=draw.partner_patches,
            flip=True,
            scales_N=scales_B,
        ),
        partner_positions_B=draw.positions_B,
        weights=settings.weights,
        canvas_sizes_B2=canvas_B2,
        padded_size=padded_size(canvas_B2, view.pad_multiple),
    )


def mosaic_plan(
    settings: MixSettings, view: ViewSettings, draw: MosaicDraw, cached_sizes_K2: npt.ArrayLike
) -> MosaicPlan:
    """Return the plan of these draws; tiles are always flipped, and each touches the centre cross."""
    sources_42 = _at(cached_sizes_K2, draw.positions_4)
    if min(draw.bounds) < 1:
        raise ValueError(
            f"bounds of a mosaic: got {draw.bounds}, expected the (height, width) of a tile, each at least 1"
        )
    sizes_42, scales_4 = fitted_sizes(sources_42, np.array(draw.bounds), view.interpolation)
    quadrant = np.array(padded_size(sizes_42, settings.mosaic_multiple))
    touches_cross_42 = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])  # aligned to the quadrant's bottom, right
    starts_42 = (1 - touches_cross_42) * quadrant
    offsets_42 = starts_42 + touches_cross_42 * (quadrant - sizes_42)
    height, width = (2 * quadrant).tolist()
    return MosaicPlan(
        tiles=plan_layer(
            settings,
            sources_42,
            sizes_42,
            offsets_N2=offsets_42,
            patches=draw.patches,
            flip=True,
            scales_N=scales_4,
        ),
        positions_4=draw.positions_4,
        canvas_size=(height, width),
        padded_size=padded_size(2 * quadrant[None], view.pad_multiple),
    )


def plan_layer(
    settings: MixSettings,
    source_sizes_N2: npt.ArrayLike,
    sizes_N2: npt.ArrayLike | None = None,
    *,
    offsets_N2: npt.ArrayLike | None = None,
    patches: Patches | None = None,
    flip: bool = False,
    scales_N: npt.NDArray[np.float64] | None = None,
) -> Layer:
    """Return strong views resized, flipped, placed and erased, each of it only where given.

    `patches` are in the pixels of the resized images, and move along with them.
    """
    sources = np.asarray(source_sizes_N2, np.int64)
    sizes = sources if sizes_N2 is None else np.asarray(sizes_N2, np.int64)
    offsets = np.zeros_like(sizes) if offsets_N2 is None else np.asarray(offsets_N2, np.int64)
    patches = patches or Patches.of_images([[]] * len(sizes))
    _require_inside(patches, sizes)
    moves_P2 = np.repeat(offsets, np.diff(patches.offsets_N1), axis=0)
    return Layer(
        source_sizes_N2=sources,
        sizes_N2=sizes,
        flips_N=np.full(len(sizes), flip),
        offsets_N2=offsets,
        patches_P4=patches.patches_P4 + np.tile(moves_P2[:, ::-1], 2),
        patch_offsets_N1=patches.offsets_N1,
        drop_ratio=settings.drop_ratio,
        scales_N=scales_N,
    )


def _unmixed(settings: MixSettings, draw: MixupDraw, sizes_B2: Sizes, pad_multiple: int) -> MixupPlan:
    return MixupPlan(
        current=plan_layer(settings, sizes_B2, patches=draw.current_patches),
        partner=None,
        partner_positions_B=draw.positions_B,
        weights=(1.0,),
        canvas_sizes_B2=sizes_B2,
        padded_size=padded_size(sizes_B2, pad_multiple),
    )


def _at(cached_sizes_K2: npt.ArrayLike, positions_N: Positions) -> Sizes:
    """Return the sizes of these cached images; positions may come from outside."""
    cached = np.asarray(cached_sizes_K2, np.int64).reshape(-1, 2)
    positions_N = np.asarray(positions_N, np.int64)
    if positions_N.min() < 0 or positions_N.max() >= len(cached):
        raise ValueError(f"positions: got {positions_N.tolist()}, expected 0 to {len(cached) - 1}")
    return cached[positions_N]


def _require_on_canvas(offsets_N2: Sizes, sizes_N2: Sizes, canvas_N2: Sizes) -> None:
    """Raise ValueError for an image that leaves its canvas, or whose offset is missing."""
    offsets_N2 = np.asarray(offsets_N2, np.int64).reshape(-1, 2)
    if len(offsets_N2) != len(sizes_N2):
        raise ValueError(f"offsets: got {len(offsets_N2)}, expected one for each of {len(sizes_N2)} images")
    outside_N = ((offsets_N2 < 0) | (offsets_N2 + sizes_N2 > canvas_N2)).any(axis=1)
    if outside_N.any():
        first = int(outside_N.argmax())
        raise ValueError(
            f"offsets of image {first}: got (y, x) {offsets_N2[first].tolist()}, expected 0 to "
            f"{(canvas_N2 - sizes_N2)[first].tolist()}, as far as its canvas is larger than the image"
        )


def _require_inside(patches: Patches, sizes_N2: Sizes) -> None:
    """Raise ValueError for a patch that leaves its image, or patches of another number of images."""
    if len(patches.offsets_N1) != len(sizes_N2) + 1:
        raise ValueError(
            f"draws of mixing: got patches of {len(patches.offsets_N1) - 1} images, expected {len(sizes_N2)}"
        )
    ends_P2 = np.repeat(sizes_N2, np.diff(patches.offsets_N1), axis=0)[:, ::-1]
    starts_P2, stops_P2 = patches.patches_P4[:, :2], patches.patches_P4[:, 2:]
    outside_P = ((starts_P2 < 0) | (stops_P2 < starts_P2) | (stops_P2 > ends_P2)).any(axis=1)
    if outside_P.any():
        raise ValueError(
            f"erased patches: got {patches.patches_P4[outside_P][0].tolist()}, expected xyxy inside an image of "
            f"width and height {ends_P2[outside_P][0].tolist()}"
        )
