"""Where something is, as the numbers that attention sees: sines of coordinates, logits of boxes.

In: coordinates in 0 .. 1, or which cells of a feature map are image and not padding. Out: their sine encodings;
the logit of a box side. Sources: sines of box coordinates, DAB-DETR (arXiv 2201.12329) section 3.1; the
temperatures, DINO (2203.03605) appendix D.

Shapes: B images, H x W cells of a level, D channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CELL_TEMPERATURE = 20
BOX_TEMPERATURE = 10_000
_EPS = 1e-6


def encode_cells(valid_BHW: Tensor, channels: int) -> Tensor:
    """Return encodings (B, H * W, channels) of where each cell lies in the valid area of its image.

    The first half of the channels is of y, the second of x.
    """
    encodings = []
    for dim in (1, 2):
        place_BHW = valid_BHW.cumsum(dim).float()
        size = place_BHW.narrow(dim, place_BHW.shape[dim] - 1, 1)
        encodings.append(encode_sines(place_BHW / (size + _EPS), channels // 2, CELL_TEMPERATURE))
    return torch.cat(encodings, dim=-1).flatten(1, 2)


def encode_boxes(boxes_BQ4: Tensor, channels: int) -> Tensor:
    """Return encodings (B, Q, 2 * channels) of boxes (centre x, centre y, width, height) in 0 .. 1.

    Half of `channels` is of each coordinate, in the order y, x, width, height.
    """
    order = boxes_BQ4[..., [1, 0, 2, 3]]
    return encode_sines(order, channels // 2, BOX_TEMPERATURE).flatten(-2)


def encode_sines(values: Tensor, channels: int, temperature: float) -> Tensor:
    """Return (..., channels): sine and cosine in turn of each value x 2 pi at falling frequencies."""
    pair = torch.arange(channels, dtype=torch.float32, device=values.device) // 2
    angles = values[..., None] * (2 * math.pi) / temperature ** (2 * pair / channels)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


def inverse_sigmoid(values: Tensor, eps: float) -> Tensor:
    """Return log(x / (1 - x)), both parts of the fraction at least `eps`.

    This is not torch.logit(x, eps), which keeps x itself within eps and 1 - eps: at the ends the two differ by
    log(1 - eps), too much for published weights to give the published boxes.
    """
    values = values.clamp(0, 1)
    return (values.clamp(min=eps) / (1 - values).clamp(min=eps)).log()
