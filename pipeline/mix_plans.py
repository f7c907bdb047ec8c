"""Plans of mixing: where each strong view goes in the student's images, and what is erased of it.

In: a random generator, the settings, the sizes of the current and the cached strong views. Out: a `MixPlan`,
which DALI executes on pixels (mixing.py) and one compiled kernel on boxes (boxes.py). Coordinates and sizes
are those of view_plans.py; offsets are (y, x), patches and boxes xyxy. Numbers from the MixPL paper (arXiv
2312.07006).

Shapes: B current images, K cached ones (oldest first), N images of a layer, P patches of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.settings import MOSAIC_TILES, MixSettings
from pipeline.view_plans import Matrices, Sizes, padded_size, resize_matrices, resize_sizes

Positions = npt.NDArray[np.int64]


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

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sizes_N2)

    @property
    def matrices_N33(self) -> Matrices:  # noqa: N802  (shape suffix)
        """Return the matrices from strong view pixels to canvas pixels."""
        matrices = resize_matrices(self.source_sizes_N2, self.sizes_N2, self.flips_N)
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
    current_sizes_B2: npt.ArrayLike,
    cached_sizes_K2: npt.ArrayLike,
    *,
    pad_multiple: int = 32,
) -> MixPlan:
    """Draw one step's mixing from the sizes alone; `cached_sizes_K2` is the cache before this step.

    Nothing is mixed until the cache holds `settings.capacity(B)` images.
    """
    current = np.asarray(current_sizes_B2, np.int64)
    cached = np.asarray(cached_sizes_K2, np.int64).reshape(-1, 2)
    full = len(cached) >= settings.capacity(len(current))
    if full and settings.mixup:
        mixup = _draw_mixup(rng, settings, current, cached, pad_multiple)
    else:
        mixup = _draw_unmixed(rng, settings, current, pad_multiple)
    mosaic = _draw_mosaic(rng, settings, cached, pad_multiple) if full and settings.mosaic else None
    return MixPlan(mixup=mixup, mosaic=mosaic)


def _draw_unmixed(
    rng: np.random.Generator, settings: MixSettings, sizes_B2: Sizes, pad_multiple: int
) -> MixupPlan:
    flips_B = np.zeros(len(sizes_B2), bool)
    offsets_B2 = np.zeros_like(sizes_B2)
    return MixupPlan(
        current=_draw_layer(rng, settings, sizes_B2, sizes_B2, flips_B, offsets_B2),
        partner=None,
        partner_positions_B=np.zeros(0, np.int64),
        weights=(1.0,),
        canvas_sizes_B2=sizes_B2,
        padded_size=padded_size(sizes_B2, pad_multiple),
    )


def _draw_mixup(
    rng: np.random.Generator, settings: MixSettings, sizes_B2: Sizes, cached_K2: Sizes, pad_multiple: int
) -> MixupPlan:
    """Partners: a permutation of the oldest B, fitted to the padded size of the batch, always flipped."""
    num_images = len(sizes_B2)
    positions_B = rng.permutation(num_images)
    sources_B2 = cached_K2[positions_B]
    partner_sizes_B2 = _fit(sources_B2, np.array(padded_size(sizes_B2, pad_multiple)))
    canvas_B2 = np.maximum(sizes_B2, partner_sizes_B2)
    current_offsets_B2 = rng.integers(canvas_B2 - sizes_B2, endpoint=True)
    partner_offsets_B2 = rng.integers(canvas_B2 - partner_sizes_B2, endpoint=True)
    as_is, flipped = np.zeros(num_images, bool), np.ones(num_images, bool)
    return MixupPlan(
        current=_draw_layer(rng, settings, sizes_B2, sizes_B2, as_is, current_offsets_B2),
        partner=_draw_layer(rng, settings, sources_B2, partner_sizes_B2, flipped, partner_offsets_B2),
        partner_positions_B=positions_B,
        weights=settings.weights,
        canvas_sizes_B2=canvas_B2,
        padded_size=padded_size(canvas_B2, pad_multiple),
    )


def _draw_mosaic(
    rng: np.random.Generator, settings: MixSettings, cached_K2: Sizes, pad_multiple: int
) -> MosaicPlan:
    """Tiles: a permutation of the newest four, always flipped, each touching the centre cross."""
    positions_4 = len(cached_K2) - MOSAIC_TILES + rng.permutation(MOSAIC_TILES)
    sources_42 = cached_K2[positions_4]
    sizes_42 = _fit(sources_42, rng.integers(*settings.mosaic_range, size=2))
    quadrant = np.array(padded_size(sizes_42, settings.mosaic_multiple))
    touches_cross_42 = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])  # aligned to the quadrant's bottom, right
    starts_42 = (1 - touches_cross_42) * quadrant
    offsets_42 = starts_42 + touches_cross_42 * (quadrant - sizes_42)
    height, width = (2 * quadrant).tolist()
    return MosaicPlan(
        tiles=_draw_layer(rng, settings, sources_42, sizes_42, np.ones(MOSAIC_TILES, bool), offsets_42),
        positions_4=positions_4,
        canvas_size=(height, width),
        padded_size=padded_size(2 * quadrant[None], pad_multiple),
    )


def _fit(sizes_N2: Sizes, bounds_2: Sizes) -> Sizes:
    """Return sizes scaled by the largest factor with which they fit, aspect kept to the rounding."""
    return np.minimum(resize_sizes(sizes_N2, (bounds_2 / sizes_N2).min(axis=1)), bounds_2)


def _draw_layer(
    rng: np.random.Generator,
    settings: MixSettings,
    source_sizes_N2: Sizes,
    sizes_N2: Sizes,
    flips_N: npt.NDArray[np.bool_],
    offsets_N2: Sizes,
) -> Layer:
    """Draw the patches of each image and return its layer."""
    counts_N = np.zeros(len(sizes_N2), np.int64)
    if settings.erase:
        counts_N = rng.integers(*settings.erase_patches, size=len(sizes_N2), endpoint=True)
    images_P = np.repeat(np.arange(len(sizes_N2)), counts_N)
    ratios_P = rng.uniform(*settings.erase_ratio, size=len(images_P))
    sides_P2 = np.floor(ratios_P[:, None] * sizes_N2[images_P]).astype(np.int64)
    starts_P2 = rng.integers(sizes_N2[images_P] - sides_P2, endpoint=True) + offsets_N2[images_P]
    return Layer(
        source_sizes_N2=source_sizes_N2,
        sizes_N2=sizes_N2,
        flips_N=flips_N,
        offsets_N2=offsets_N2,
        patches_P4=np.concatenate([starts_P2[:, ::-1], (starts_P2 + sides_P2)[:, ::-1]], axis=1),
        patch_offsets_N1=np.concatenate([[0], np.cumsum(counts_N)]),
    )
