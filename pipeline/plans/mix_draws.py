"""What chance decides about mixing: partners, offsets, tiles, erased patches.

In: a random generator, the settings, the sizes of the current and the cached strong views. Out: a `MixupDraw`
and a `MosaicDraw`, from which mix_plans.py makes plans. Draws recorded elsewhere are written as the same values
(replay.py). Offsets are (y, x), patches xyxy in the pixels of the placed image, before it is put on its canvas.

Shapes: B current images, K cached ones (oldest first), N images of a layer, P patches of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.plans.geometry import Sizes, fitted_sizes, padded_size
from pipeline.settings import MOSAIC_TILES, MixSettings, ViewSettings
from storage.labels import offsets_of_counts

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patches:
    """Erased rectangles of N images."""

    patches_P4: npt.NDArray[np.int64]
    """xyxy, whole pixels of the resized and flipped image."""
    offsets_N1: npt.NDArray[np.int64]
    """N + 1 ascending row numbers: image n owns patches from `[n]` to `[n + 1]`."""

    @staticmethod
    def of_images(patches: Sequence[npt.ArrayLike]) -> Patches:
        """Return the patches of images given one by one, each a list of xyxy."""
        images = [np.asarray(boxes, np.int64).reshape(-1, 4) for boxes in patches]
        return Patches(
            patches_P4=np.concatenate([np.zeros((0, 4), np.int64), *images]),
            offsets_N1=offsets_of_counts([len(image_P4) for image_P4 in images]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixupDraw:
    """The draws of a mixup of B images; without partners only the patches of the current views."""

    current_patches: Patches
    positions_B: Positions
    """Cache position of each partner, 0 = oldest; empty: nothing is mixed."""
    current_offsets_B2: Sizes
    partner_offsets_B2: Sizes
    """(y, x) of the corners of the two images on their common canvas; empty without partners."""
    partner_patches: Patches


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MosaicDraw:
    """The draws of one mosaic."""

    positions_4: Positions
    """Cache position of each tile: top left, top right, bottom left, bottom right."""
    bounds: tuple[int, int]
    """(height, width) that each tile is fitted into."""
    patches: Patches


def draw_unmixed(rng: np.random.Generator, settings: MixSettings, sizes_B2: Sizes) -> MixupDraw:
    """Draw the patches of images that stay unmixed."""
    nowhere = np.zeros((0, 2), np.int64)
    return MixupDraw(
        current_patches=_draw_patches(rng, settings, sizes_B2),
        positions_B=np.zeros(0, np.int64),
        current_offsets_B2=nowhere,
        partner_offsets_B2=nowhere,
        partner_patches=Patches.of_images([]),
    )


def draw_mixup(
    rng: np.random.Generator,
    settings: MixSettings,
    view: ViewSettings,
    sizes_B2: Sizes,
    cached_K2: Sizes,
) -> MixupDraw:
    """Draw partners, a permutation of the oldest B, and where each of the two images lies."""
    positions_B = rng.permutation(len(sizes_B2))
    bounds = np.array(padded_size(sizes_B2, view.pad_multiple))
    partner_sizes_B2, _ = fitted_sizes(cached_K2[positions_B], bounds, view.interpolation)
    canvas_B2 = np.maximum(sizes_B2, partner_sizes_B2)
    current_offsets_B2 = rng.integers(canvas_B2 - sizes_B2, endpoint=True)
    partner_offsets_B2 = rng.integers(canvas_B2 - partner_sizes_B2, endpoint=True)
    return MixupDraw(
        current_patches=_draw_patches(rng, settings, sizes_B2),
        positions_B=positions_B,
        current_offsets_B2=current_offsets_B2,
        partner_offsets_B2=partner_offsets_B2,
        partner_patches=_draw_patches(rng, settings, partner_sizes_B2),
    )


def draw_mosaic(
    rng: np.random.Generator, settings: MixSettings, view: ViewSettings, batch_size: int, cached_K2: Sizes
) -> MosaicDraw:
    """Draw tiles, a permutation of the four after the oldest B, and the size that they are fitted into.

    The oldest B are mixup partners. As in the published code: with its cache of 8, the tiles are the newest four
    only where B is 4.
    """
    positions_4 = batch_size + rng.permutation(MOSAIC_TILES)
    bounds_2 = rng.integers(*settings.mosaic_range, size=2)
    sizes_42, _ = fitted_sizes(cached_K2[positions_4], bounds_2, view.interpolation)
    return MosaicDraw(
        positions_4=positions_4,
        bounds=(int(bounds_2[0]), int(bounds_2[1])),
        patches=_draw_patches(rng, settings, sizes_42),
    )


def _draw_patches(rng: np.random.Generator, settings: MixSettings, sizes_N2: Sizes) -> Patches:
    counts_N = np.zeros(len(sizes_N2), np.int64)
    if settings.erase:
        counts_N = rng.integers(*settings.erase_patches, size=len(sizes_N2), endpoint=True)
    sizes_P2 = np.repeat(sizes_N2, counts_N, axis=0)
    ratios_P = rng.uniform(*settings.erase_ratio, size=len(sizes_P2))
    sides_P2 = np.floor(ratios_P[:, None] * sizes_P2).astype(np.int64)
    starts_P2 = rng.integers(sizes_P2 - sides_P2, endpoint=True)
    return Patches(
        patches_P4=np.concatenate([starts_P2[:, ::-1], (starts_P2 + sides_P2)[:, ::-1]], axis=1),
        offsets_N1=offsets_of_counts(counts_N),
    )
