"""Attention to a few points of every level, and the two-layer network that follows each attention.

In: queries, where each looks, and `Levels` to look at. Out: what each saw. The sampling itself is the module of
transformers, on torch's `grid_sample` alone. Source: Deformable DETR (arXiv 2010.04159) section 4.1.

Shapes: B images, Q queries, T tokens, L levels, D channels.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrMultiscaleDeformableAttention,
)

from model.detectors.dino.levels import NUM_LEVELS, Levels

NUM_HEADS = 8
NUM_POINTS = 4
"""Sampled of each level by each head."""


class DeformableAttention(DeformableDetrMultiscaleDeformableAttention):
    """The module of transformers, drawn and called as this folder needs it."""

    def __init__(self, channels: int) -> None:
        # the module reads these three values of a configuration; a whole one would speak of a backbone too
        values = SimpleNamespace(d_model=channels, num_feature_levels=NUM_LEVELS, disable_custom_kernels=True)
        super().__init__(cast(Any, values), num_heads=NUM_HEADS, n_points=NUM_POINTS)
        self._spread_points()

    def forward(  # type: ignore[override]
        self, queries_BQD: Tensor, references_BQLk: Tensor, levels: Levels, tokens_BTD: Tensor
    ) -> Tensor:
        """Return what was seen (B, Q, D).

        `references_BQLk`: k = 2, points; k = 4, boxes (centre x, centre y, width, height); in 0 .. 1 of each padded
        level. `tokens_BTD` lie where those of `levels` lie.
        """
        seen_BQD, _ = super().forward(
            hidden_states=queries_BQD,
            attention_mask=levels.valid_BT,
            encoder_hidden_states=tokens_BTD,
            reference_points=references_BQLk,
            spatial_shapes=levels.shapes_L2,
            spatial_shapes_list=levels.shapes,
        )
        return seen_BQD

    @torch.no_grad()
    def _spread_points(self) -> None:
        """Let each head begin with points in a direction of its own, 1 to 4 cells away, all of equal weight."""
        angles = torch.arange(NUM_HEADS) * (2 * math.pi / NUM_HEADS)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, NUM_POINTS + 1)
        offsets = directions[:, None, None] * steps[:, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        self.sampling_offsets.bias.copy_(offsets.expand(-1, NUM_LEVELS, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)


class FeedForward(nn.Module):
    """Two linear layers around a rectifier, added to the input and normalised."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        self.norm = nn.LayerNorm(channels)
        for layer in (self.layers[0], self.layers[2]):
            nn.init.xavier_uniform_(cast(nn.Linear, layer).weight)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Return the tokens, changed each by itself."""
        changed: Tensor = self.norm(tokens_BTD + self.layers(tokens_BTD))
        return changed
