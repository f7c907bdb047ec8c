"""Boxes under a plan: one compiled kernel does to labels what DALI does to pixels.

In: `Labels` of B images and the plan's geometry. Out: `Labels` of the images made by that plan. A box becomes
the hull of its four mapped corners, is clipped to where its image lies, and is dropped when less than 0.01 px
remains of a side, or when erased patches cover it. Boxes keep their order; no image is lost, an image may be
left empty. A few hundred boxes take tens of microseconds.

Shapes: N boxes in all, B images, P patches in all.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from pipeline.plans.geometry import Matrices, Sizes
from pipeline.plans.mix_plans import Layer, MixupPlan, MosaicPlan
from storage.labels import Labels

MIN_SIDE = 0.01
"""A box whose width or height is at most this many pixels after clipping is dropped."""


def project(labels: Labels, matrices_B33: Matrices, sizes_B2: Sizes) -> Labels:
    """Return the boxes mapped by each image's matrix and clipped to its (height, width).

    Weak to strong view: `strong.box_matrices_B33 @ np.linalg.inv(weak.box_matrices_B33)`.
    """
    _same_length(labels, len(matrices_B33))
    clips_B4 = np.zeros((len(sizes_B2), 4))
    clips_B4[:, 2:] = sizes_B2[:, ::-1]
    no_patches_P4, none_B1 = np.zeros((0, 4), np.int64), np.zeros(len(sizes_B2) + 1, np.int64)
    return _apply(labels, matrices_B33, clips_B4, no_patches_P4, none_B1, np.inf)


def place(labels: Labels, layer: Layer) -> Labels:
    """Return the boxes of strong views in the pixels of their canvases, without those erased.

    A box is dropped when the areas that its patches share with it sum to the layer's `drop_ratio` of its own or
    more; where patches overlap, the area counts for each (MixPL's rule).
    """
    _same_length(labels, len(layer))
    starts_N2 = layer.offsets_N2[:, ::-1]
    clips_N4 = np.concatenate([starts_N2, starts_N2 + layer.sizes_N2[:, ::-1]], axis=1).astype(np.float64)
    return _apply(
        labels, layer.matrices_N33, clips_N4, layer.patches_P4, layer.patch_offsets_N1, layer.drop_ratio
    )


def mixup_labels(plan: MixupPlan, current: Labels, partner: Labels | None) -> Labels:
    """Return the labels of the student's B images: the current view's boxes, then its partner's.

    `partner` holds the cached labels of `plan.partner_positions_B`, in that order; None where the plan has
    none.
    """
    placed = place(current, plan.current)
    assert (plan.partner is None) == (partner is None), "the plan and the labels disagree about partners"
    if plan.partner is None or partner is None:
        return placed
    return _overlaid(placed, place(partner, plan.partner))


def mosaic_labels(plan: MosaicPlan, tiles: Labels) -> Labels:
    """Return the labels of the one mosaic; `tiles` holds the cached labels of `plan.positions_4`."""
    placed = place(tiles, plan.tiles)
    return Labels(
        boxes_N4=placed.boxes_N4,
        categories_N=placed.categories_N,
        scores_N=placed.scores_N,
        offsets_B1=placed.offsets_B1[[0, -1]],
    )


def _same_length(labels: Labels, num_images: int) -> None:
    if len(labels) != num_images:
        raise ValueError(f"labels: got those of {len(labels)} images, the plan was drawn for {num_images}")


def _overlaid(first: Labels, second: Labels) -> Labels:
    """Return B images that each hold the boxes of both, the first's before the second's."""
    images_N = np.concatenate([part.image_rows() for part in (first, second)])
    order_N = np.argsort(images_N, kind="stable")
    return Labels(
        boxes_N4=np.concatenate([first.boxes_N4, second.boxes_N4])[order_N],
        categories_N=np.concatenate([first.categories_N, second.categories_N])[order_N],
        scores_N=np.concatenate([first.scores_N, second.scores_N])[order_N],
        offsets_B1=first.offsets_B1 + second.offsets_B1,
    )


def _apply(
    labels: Labels,
    matrices_B33: Matrices,
    clips_B4: npt.NDArray[np.float64],
    patches_P4: npt.NDArray[np.int64],
    patch_offsets_B1: npt.NDArray[np.int64],
    drop_ratio: float,
) -> Labels:
    boxes_N4, kept_N, offsets_B1 = _apply_kernel(
        labels.boxes_N4, labels.offsets_B1, matrices_B33, clips_B4, patches_P4, patch_offsets_B1, drop_ratio
    )
    return Labels(
        boxes_N4=boxes_N4,
        categories_N=labels.categories_N[kept_N],
        scores_N=labels.scores_N[kept_N],
        offsets_B1=offsets_B1,
    )


@numba.njit(cache=True)
def _apply_kernel(  # type: ignore[no-untyped-def]
    boxes_N4, offsets_B1, matrices_B33, clips_B4, patches_P4, patch_offsets_B1, drop_ratio
):
    """Return the mapped boxes that remain, their rows in the input, and the offsets of the images."""
    out_N4 = np.empty((len(boxes_N4), 4), np.float32)
    kept_N = np.empty(len(boxes_N4), np.int64)
    out_offsets_B1 = np.zeros(len(offsets_B1), np.int64)
    num_kept = 0
    for image in range(len(offsets_B1) - 1):
        matrix, clip = matrices_B33[image], clips_B4[image]
        for row in range(offsets_B1[image], offsets_B1[image + 1]):
            x1, y1, x2, y2 = _clipped_hull(boxes_N4[row], matrix, clip)
            if not (x2 - x1 > MIN_SIDE and y2 - y1 > MIN_SIDE):
                continue
            covered = 0.0
            for patch in patches_P4[patch_offsets_B1[image] : patch_offsets_B1[image + 1]]:
                width = min(x2, patch[2]) - max(x1, patch[0])
                height = min(y2, patch[3]) - max(y1, patch[1])
                covered += max(width, 0.0) * max(height, 0.0)
            if covered >= drop_ratio * (x2 - x1) * (y2 - y1):
                continue
            out_N4[num_kept] = x1, y1, x2, y2
            kept_N[num_kept] = row
            num_kept += 1
        out_offsets_B1[image + 1] = num_kept
    return out_N4[:num_kept], kept_N[:num_kept], out_offsets_B1


@numba.njit(cache=True)
def _clipped_hull(box, matrix, clip):  # type: ignore[no-untyped-def]
    """Return the hull of the four mapped corners, cut to the clip rectangle; inverted where disjoint."""
    x1, y1, x2, y2 = np.inf, np.inf, -np.inf, -np.inf
    for corner_x in (box[0], box[2]):
        for corner_y in (box[1], box[3]):
            x = matrix[0, 0] * corner_x + matrix[0, 1] * corner_y + matrix[0, 2]
            y = matrix[1, 0] * corner_x + matrix[1, 1] * corner_y + matrix[1, 2]
            x1, x2 = min(x1, x), max(x2, x)
            y1, y2 = min(y1, y), max(y2, y)
    return max(x1, clip[0]), max(y1, clip[1]), min(x2, clip[2]), min(y2, clip[3])
