"""What a query says: the logit of each class, and by how much its box differs from its reference.

Out: float32 under autocast; in bfloat16 a coordinate of 600 px would be rounded to a multiple of 4 px.
Source: DINO (arXiv 2203.03605); the prior of a class, focal loss (1708.02002) section 4.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_PRIOR = 0.01
"""Score of every class before training."""


class ClassHead(nn.Linear):
    """A logit a class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes)
        nn.init.constant_(self.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return float32 logits."""
        return super().forward(tokens).float()


class BoxHead(nn.Sequential):
    """What is added to the logits of a reference box (centre x, centre y, width, height); 0 before training."""

    def __init__(self, channels: int) -> None:
        last = nn.Linear(channels, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return float32 differences of logits."""
        with torch.autocast(tokens.device.type, enabled=False):
            differences: Tensor = super().forward(tokens.float())  # type: ignore[no-untyped-call]
        return differences
