"""The encoder: every token of every level looks at a few points of all levels.

In: `Levels`. Out: their tokens, changed. Source: Deformable DETR (arXiv 2010.04159) section 4.2.

Shapes: B images, T tokens, L levels, D channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from model.detectors.dino.attention import DeformableAttention, FeedForward
from model.detectors.dino.levels import Levels


class EncoderLayer(nn.Module):
    """Attention of the tokens to themselves, and a feed-forward network."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden)

    def forward(self, tokens_BTD: Tensor, references_BTL2: Tensor, levels: Levels) -> Tensor:
        """Return the tokens, changed."""
        seen_BTD = self.attention(tokens_BTD + levels.positions_BTD, references_BTL2, levels, tokens_BTD)
        changed: Tensor = self.feed_forward(self.attention_norm(tokens_BTD + seen_BTD))
        return changed


class Encoder(nn.Module):
    """Layers one after another."""

    def __init__(self, *, num_layers: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(channels, hidden) for _ in range(num_layers)])

    def forward(self, levels: Levels) -> Tensor:
        """Return the tokens (B, T, D) of all levels."""
        references_BTL2 = levels.centres_BT2[:, :, None] * levels.valid_ratios_BL2[:, None]
        tokens_BTD = levels.tokens_BTD
        for layer in self.layers:
            tokens_BTD = layer(tokens_BTD, references_BTL2, levels)
        return tokens_BTD
