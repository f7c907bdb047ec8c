"""From images to the four levels of features that the transformer reads as one row of tokens.

In: images and their valid sizes. Out: `Levels`: the tokens of all levels one after another, coarser levels last,
and where they lie. Guaranteed: tokens of padding are marked; the GroupNorm of the levels sees the padding all the
same, as in the published network, so padding changes predictions a little. Source: DINO (arXiv 2203.03605);
Deformable DETR (2010.04159) appendix A.4.

Shapes: B images, C channels, H x W pixels, h x w cells of a level, L levels, T tokens of all levels, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.detector import Sizes
from model.detectors.dino.positions import encode_cells

NUM_LEVELS = 4
_GROUPS = 32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Levels:
    """Features of a batch at several scales."""

    tokens_BTD: Tensor
    positions_BTD: Tensor
    """Where each token lies, to be added to queries and keys."""
    valid_BT: Tensor
    """bool, False where a token lies in the padding."""
    centres_BT2: Tensor
    """float32 centre (x, y) of each token's cell as a share of the valid area; above 1 in the padding."""
    valid_ratios_BL2: Tensor
    """float32: the share of the width and of the height that is no padding."""
    shapes: tuple[tuple[int, int], ...]
    """(height, width) in cells."""
    shapes_L2: Tensor
    """The same as a tensor."""


class LevelMaker(nn.Module):
    """Projects the stages of a backbone to one width and adds coarser levels with a stride of two."""

    def __init__(self, backbone: Any, stage_channels: Sequence[int], channels: int) -> None:
        """`backbone`: gives a mapping of stages, finest first, whose channels are `stage_channels`."""
        super().__init__()
        self.backbone = backbone
        projections = [_project(stage, channels, kernel=1) for stage in stage_channels]
        inputs = [stage_channels[-1], *[channels] * NUM_LEVELS][: NUM_LEVELS - len(stage_channels)]
        self.projections = nn.ModuleList(projections)
        self.coarser = nn.ModuleList([_project(width, channels, kernel=3, stride=2) for width in inputs])
        self.level_embedding = nn.Parameter(torch.randn(NUM_LEVELS, channels))

    def forward(self, images_BCHW: Tensor, sizes_B2: Sizes) -> Levels:
        """Return the levels of a batch."""
        stages = list(self.backbone(images_BCHW).values())
        maps = [project(stage) for project, stage in zip(self.projections, stages, strict=True)]
        last = stages[-1]
        for coarsen in self.coarser:
            last = coarsen(last)
            maps.append(last)
        return self._flatten(maps, images_BCHW, sizes_B2)

    def _flatten(self, maps: list[Tensor], images_BCHW: Tensor, sizes_B2: Sizes) -> Levels:
        device, channels = images_BCHW.device, maps[0].shape[1]
        shapes = tuple((int(level.shape[2]), int(level.shape[3])) for level in maps)
        padded_2 = torch.tensor(images_BCHW.shape[-2:], device=device)
        sizes = torch.tensor([tuple(size) for size in sizes_B2], device=device)
        valid = [_valid_cells(sizes, padded_2, shape) for shape in shapes]
        positions = [
            encode_cells(valid_Bhw, channels) + embedding_D
            for valid_Bhw, embedding_D in zip(valid, self.level_embedding, strict=True)
        ]
        valid_sizes = [torch.stack([cells[:, 0].sum(1), cells[:, :, 0].sum(1)], dim=-1) for cells in valid]
        shapes_L2 = torch.tensor(shapes, device=device)
        centres = [
            _cell_centres(shape, device) / valid_size_B2[:, None]
            for shape, valid_size_B2 in zip(shapes, valid_sizes, strict=True)
        ]
        return Levels(
            tokens_BTD=torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1),
            positions_BTD=torch.cat(positions, dim=1),
            valid_BT=torch.cat([cells.flatten(1) for cells in valid], dim=1),
            centres_BT2=torch.cat(centres, dim=1),
            valid_ratios_BL2=torch.stack(valid_sizes, dim=1) / shapes_L2.flip(-1),
            shapes=shapes,
            shapes_L2=shapes_L2,
        )


def _project(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, outputs))


def _valid_cells(sizes_B2: Tensor, padded_2: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a mask (B, h, w) of the cells whose upper left pixel lies in the valid area."""
    height, width = shape
    rows_h = torch.arange(height, device=sizes_B2.device) * padded_2[0] // height
    columns_w = torch.arange(width, device=sizes_B2.device) * padded_2[1] // width
    in_height_Bh = rows_h < sizes_B2[:, :1]
    in_width_Bw = columns_w < sizes_B2[:, 1:]
    return in_height_Bh[:, :, None] & in_width_Bw[:, None, :]


def _cell_centres(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the centres (h * w, 2) of the cells of a level: x, y in cells."""
    height, width = shape
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2) + 0.5
