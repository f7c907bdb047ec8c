"""Which location learns which box: the FCOS assignment, over the whole batch at once.

In: the padded size of a batch, valid sizes and targets. Out: for every location its class (or none) and its
four distances. A location learns a box when it lies inside the box and within 1.5 strides of its centre, and
its largest distance fits the level; of several boxes it learns the smallest. Locations outside an image's
valid area learn none. Source: FCOS (arXiv 1904.01355) section 3 and its later centre sampling.

Shapes: B images, L locations of all levels (fine to coarse, row by row), M boxes of the fullest image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.detector import Sizes, Target

CENTRE_RADIUS = 1.5
"""In strides of the level."""
MAX_PAIRS = 2**24
"""Location-box pairs compared at once: 64 MiB a float32 tensor."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Locations:
    """The centres of the feature cells of all levels."""

    points_L2: Tensor
    """(x, y), pixels of the padded image."""
    strides_L: Tensor
    ranges_L2: Tensor
    """Smallest and largest distance, in pixels, that a location of the level learns."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assignment:
    """What every location of a batch learns."""

    positive_BL: Tensor
    """bool: the location learns a box; elsewhere the other two fields mean nothing."""
    categories_BL: Tensor
    boxes_BL4: Tensor


def make_locations(
    height: int, width: int, *, strides: Sequence[int], limits: Sequence[float], device: torch.device
) -> Locations:
    """Return the locations of a padded image of `height` x `width` pixels.

    `limits`: the distances in pixels that part neighbouring levels, one fewer than there are strides.
    """
    assert len(limits) == len(strides) - 1, "limits part neighbouring levels"
    points, level_strides, ranges = [], [], []
    for level, stride in enumerate(strides):
        ys = (torch.arange(height // stride, device=device, dtype=torch.float32) + 0.5) * stride
        xs = (torch.arange(width // stride, device=device, dtype=torch.float32) + 0.5) * stride
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).view(-1, 2)
        smallest = limits[level - 1] if level else 0.0
        largest = limits[level] if level < len(limits) else float("inf")
        points.append(grid)
        level_strides.append(grid.new_full((len(grid),), float(stride)))
        ranges.append(grid.new_tensor([smallest, largest]).expand(len(grid), 2))
    return Locations(
        points_L2=torch.cat(points), strides_L=torch.cat(level_strides), ranges_L2=torch.cat(ranges)
    )


def assign(locations: Locations, sizes_B2: Sizes, targets: Sequence[Target]) -> Assignment:
    """Return what every location of a batch learns."""
    boxes_BM4, categories_BM = pad_targets(targets, locations.points_L2.device)
    valid_BL = inside_valid_area(locations.points_L2, sizes_B2)
    pairs_an_image = len(locations.points_L2) * boxes_BM4.shape[1]
    chunk = max(1, MAX_PAIRS // pairs_an_image)
    matches = [smallest_match(locations, part) for part in torch.split(boxes_BM4, chunk)]
    index_BL = torch.cat([index for index, _ in matches])
    matched_BL = torch.cat([matched for _, matched in matches])
    return Assignment(
        positive_BL=matched_BL & valid_BL,
        categories_BL=categories_BM.gather(1, index_BL),
        boxes_BL4=boxes_BM4.gather(1, index_BL[..., None].expand(-1, -1, 4)),
    )


def pad_targets(targets: Sequence[Target], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return boxes (B, M, 4) and categories (B, M); absent boxes have no area and match nothing."""
    most = max([1, *(len(target.boxes_N4) for target in targets)])
    boxes_BM4 = torch.zeros(len(targets), most, 4, device=device)
    categories_BM = torch.zeros(len(targets), most, dtype=torch.int64, device=device)
    for index, target in enumerate(targets):
        boxes_BM4[index, : len(target.boxes_N4)] = target.boxes_N4
        categories_BM[index, : len(target.boxes_N4)] = target.categories_N
    return boxes_BM4, categories_BM


def inside_valid_area(points_L2: Tensor, sizes_B2: Sizes) -> Tensor:
    """Return a mask (B, L) of the locations that lie on the image and not on its padding."""
    limits_B2 = points_L2.new_tensor([(width, height) for height, width in sizes_B2])
    return (points_L2 < limits_B2[:, None]).all(dim=-1)


def smallest_match(locations: Locations, boxes_BM4: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index (B, L) of the smallest box that a location may learn, and whether there is one."""
    x_L1, y_L1 = locations.points_L2[:, :1], locations.points_L2[:, 1:]
    x1, y1, x2, y2 = boxes_BM4[:, None].unbind(-1)
    left, top, right, bottom = x_L1 - x1, y_L1 - y1, x2 - x_L1, y2 - y_L1
    nearest_BLM = torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom))
    farthest_BLM = torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))
    # |left - right| / 2 is the distance to the centre line
    off_centre_BLM = torch.maximum((left - right).abs(), (top - bottom).abs()) / 2
    may_learn_BLM = (
        (nearest_BLM > 0)
        & (off_centre_BLM < CENTRE_RADIUS * locations.strides_L[:, None])
        & (farthest_BLM >= locations.ranges_L2[:, :1])
        & (farthest_BLM <= locations.ranges_L2[:, 1:])
    )
    area_B1M = (x2 - x1) * (y2 - y1)
    area_BLM = torch.where(may_learn_BLM, area_B1M, float("inf"))
    smallest_BL, index_BL = area_BLM.min(dim=-1)
    return index_BL, smallest_BL.isfinite()
