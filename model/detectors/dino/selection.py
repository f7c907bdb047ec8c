"""Mixed query selection: where the queries begin is found by the encoder, what they are is learned.

In: the encoder's tokens. Out: `Queries`, the best tokens' boxes beside contents that are the same for every image;
and what the encoder said of these tokens, from which a loss is made too. Source: DINO (arXiv 2203.03605) section
3.3.

Shapes: B images, T tokens, Q queries, K classes, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.detectors.dino.heads import BoxHead, ClassHead
from model.detectors.dino.levels import Levels

_FINEST_SIDE = 0.05
"""Side of the box that a token of the finest level proposes, as a share of the image; twice that a level up."""
_MARGIN = 0.01
"""Tokens whose centre or box lies this near to 0 or 1 propose nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Queries:
    """Where the decoder begins."""

    contents_BQD: Tensor
    references_BQ4: Tensor
    """Boxes (centre x, centre y, width, height) in 0 .. 1 of the valid area, without gradient."""
    logits_BQK: Tensor
    """What the encoder said of the tokens that were selected."""
    boxes_BQ4: Tensor
    """The same values as `references_BQ4`, with the encoder's gradient."""


class QuerySelection(nn.Module):
    """Says of every token which class it is and where its box lies, and keeps the best."""

    def __init__(self, *, num_classes: int, num_queries: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.class_head = ClassHead(channels, num_classes)
        self.box_head = BoxHead(channels)
        self.contents = nn.Embedding(num_queries, channels)
        for weight in (self.projection.weight, self.contents.weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, tokens_BTD: Tensor, levels: Levels) -> Queries:
        """Return as many queries as there are contents, or as there are tokens where these are fewer."""
        proposals_BT4 = _propose(levels)
        usable_BT1 = proposals_BT4.isfinite().all(dim=-1, keepdim=True)
        tokens_BTD = self.norm(self.projection(tokens_BTD.masked_fill(~usable_BT1, 0.0)))
        logits_BTK = self.class_head(tokens_BTD)
        num_queries = min(self.contents.num_embeddings, tokens_BTD.shape[1])
        best_BQ1 = logits_BTK.amax(dim=-1).topk(num_queries, dim=1).indices[..., None]
        # of the tokens that are left, not of all: the head's matrices are the same for each
        best_BQD = tokens_BTD.take_along_dim(best_BQ1, dim=1)
        boxes_BQ4 = (self.box_head(best_BQD) + proposals_BT4.take_along_dim(best_BQ1, dim=1)).sigmoid()
        return Queries(
            contents_BQD=self.contents.weight[:num_queries].expand(len(tokens_BTD), -1, -1),
            references_BQ4=boxes_BQ4.detach(),
            logits_BQK=logits_BTK.take_along_dim(best_BQ1, dim=1),
            boxes_BQ4=boxes_BQ4,
        )


def _propose(levels: Levels) -> Tensor:
    """Return the logits (B, T, 4) of a box at every token, infinite where the token may propose nothing."""
    centres_BT2 = levels.centres_BT2
    sides = [
        torch.full((height * width, 2), _FINEST_SIDE * 2.0**level, device=centres_BT2.device)
        for level, (height, width) in enumerate(levels.shapes)
    ]
    boxes_BT4 = torch.cat([centres_BT2, torch.cat(sides).expand_as(centres_BT2)], dim=-1)
    inside_BT1 = ((boxes_BT4 > _MARGIN) & (boxes_BT4 < 1 - _MARGIN)).all(dim=-1, keepdim=True)
    return boxes_BT4.logit().masked_fill(~(inside_BT1 & levels.valid_BT[..., None]), float("inf"))
