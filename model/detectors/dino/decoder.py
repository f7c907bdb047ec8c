"""The decoder: queries look at each other and at the image, and move their boxes, layer by layer.

In: queries with a reference box each. Out: the classes and boxes that every layer says. Look forward twice: the
box of a layer is made of the undetached box of the layer before, so its loss changes that layer's box as well.
Source: DINO (arXiv 2203.03605) sections 3.1 and 3.4; positional queries from boxes, DAB-DETR (2201.12329).

Shapes: B images, N queries, L layers, T tokens, K classes, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.detectors.dino.attention import NUM_HEADS, DeformableAttention, FeedForward
from model.detectors.dino.heads import BoxHead, ClassHead
from model.detectors.dino.levels import Levels
from model.detectors.dino.positions import encode_boxes, inverse_sigmoid

_REFERENCE_EPS = 1e-3
"""Keeps the logits of a reference, with which the next layer begins, within 6.9."""
_BOX_EPS = 1e-5
"""The same of the reference under a box that is predicted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """What the layers of the decoder say of the queries."""

    logits_LBNK: Tensor
    boxes_LBN4: Tensor
    """Centre x, centre y, width, height in 0 .. 1 of the valid area."""


class DecoderLayer(nn.Module):
    """Attention of the queries to each other and to the image, and a feed-forward network."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, NUM_HEADS, batch_first=True)
        self.self_norm = nn.LayerNorm(channels)
        self.cross_attention = DeformableAttention(channels)
        self.cross_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden)
        nn.init.xavier_uniform_(self.self_attention.out_proj.weight)

    def forward(
        self,
        queries_BND: Tensor,
        positions_BND: Tensor,
        references_BNL4: Tensor,
        tokens_BTD: Tensor,
        *,
        levels: Levels,
        blocked_NN: Tensor | None,
    ) -> Tensor:
        """Return the queries, changed. `blocked_NN`: True where query n may not look at query m."""
        placed_BND = queries_BND + positions_BND
        seen_BND, _ = self.self_attention(
            placed_BND, placed_BND, queries_BND, attn_mask=blocked_NN, need_weights=False
        )
        queries_BND = self.self_norm(queries_BND + seen_BND)
        seen_BND = self.cross_attention(queries_BND + positions_BND, references_BNL4, levels, tokens_BTD)
        changed: Tensor = self.feed_forward(self.cross_norm(queries_BND + seen_BND))
        return changed


class Decoder(nn.Module):
    """Layers with heads of their own."""

    def __init__(self, *, num_classes: int, num_layers: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.ModuleList([DecoderLayer(channels, hidden) for _ in range(num_layers)])
        self.position_layers = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, channels)
        )
        for module in self.position_layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        self.norm = nn.LayerNorm(channels)
        self.class_heads = nn.ModuleList([ClassHead(channels, num_classes) for _ in range(num_layers)])
        self.box_heads = nn.ModuleList([BoxHead(channels) for _ in range(num_layers)])

    def forward(
        self,
        queries_BND: Tensor,
        references_BN4: Tensor,
        tokens_BTD: Tensor,
        *,
        levels: Levels,
        blocked_NN: Tensor | None,
    ) -> Predictions:
        """Return what every layer says of every query."""
        ratios_BL4 = levels.valid_ratios_BL2.repeat(1, 1, 2)
        under_box_BN4 = references_BN4
        logits, boxes = [], []
        for layer, class_head, box_head in zip(self.layers, self.class_heads, self.box_heads, strict=True):
            references_BNL4 = references_BN4[:, :, None] * ratios_BL4[:, None]
            # the finest level's, as published, though each level pads by a share of its own
            positions_BND = self.position_layers(encode_boxes(references_BNL4[:, :, 0], self.channels))
            queries_BND = layer(
                queries_BND, positions_BND, references_BNL4, tokens_BTD, levels=levels, blocked_NN=blocked_NN
            )
            normed_BND = self.norm(queries_BND)
            logits.append(class_head(normed_BND))
            boxes.append((box_head(normed_BND) + inverse_sigmoid(under_box_BN4, _BOX_EPS)).sigmoid())
            moved_BN4 = box_head(queries_BND) + inverse_sigmoid(references_BN4, _REFERENCE_EPS)
            under_box_BN4 = moved_BN4.sigmoid()
            references_BN4 = under_box_BN4.detach()
        return Predictions(logits_LBNK=torch.stack(logits), boxes_LBN4=torch.stack(boxes))
