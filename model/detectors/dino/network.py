"""The whole network: backbone, levels, encoder, selection of queries, decoder.

In: normalised images and their valid sizes; while training, denoising queries too. Out: `Output`, what encoder and
decoder say. Source: DINO (arXiv 2203.03605): 4 scales, 900 queries, 6 layers each, no dropout.

Shapes: B images, C channels, H x W pixels, Q queries that are matched, N denoising queries, L layers, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.detector import Sizes
from model.detectors.dino.decoder import Decoder, Predictions
from model.detectors.dino.denoising import Denoising, DenoisingQueries
from model.detectors.dino.encoder import Encoder
from model.detectors.dino.levels import LevelMaker
from model.detectors.dino.selection import Queries, QuerySelection


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimensions:
    """How large the transformer is; the defaults are the published ones."""

    channels: int = 256
    hidden: int = 2048
    """Width between the two linear layers of a feed-forward network."""
    num_queries: int = 900
    num_denoising: int = 100
    """Positive denoising queries of an image at most; as many negative ones come with them."""
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6


COMPACT = Dimensions(
    channels=128, hidden=512, num_queries=100, num_denoising=25, num_encoder_layers=2, num_decoder_layers=3
)
"""For small data, CPUs and tests."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Output:
    """What the network says of a batch."""

    selected: Queries
    matched: Predictions
    """Of the Q queries that the encoder selected."""
    denoised: Predictions
    """Of the N denoising queries, which may be none."""


class DINONetwork(nn.Module):
    """Images to classes and boxes."""

    def __init__(
        self, backbone: Any, stage_channels: Sequence[int], *, num_classes: int, dimensions: Dimensions
    ) -> None:
        """`backbone`: gives a mapping of three stages, strides 8, 16 and 32, of `stage_channels`."""
        super().__init__()
        channels, hidden = dimensions.channels, dimensions.hidden
        self.levels = LevelMaker(backbone, stage_channels, channels)
        self.encoder = Encoder(num_layers=dimensions.num_encoder_layers, channels=channels, hidden=hidden)
        self.selection = QuerySelection(
            num_classes=num_classes, num_queries=dimensions.num_queries, channels=channels
        )
        self.denoising = Denoising(
            num_classes=num_classes, channels=channels, num_positives=dimensions.num_denoising
        )
        self.decoder = Decoder(
            num_classes=num_classes,
            num_layers=dimensions.num_decoder_layers,
            channels=channels,
            hidden=hidden,
        )

    def forward(
        self, images_BCHW: Tensor, sizes_B2: Sizes, denoising: DenoisingQueries | None = None
    ) -> Output:
        """Return what is said of the selected queries, and of those of the denoising where there are any."""
        levels = self.levels(images_BCHW, sizes_B2)
        tokens_BTD = self.encoder(levels)
        selected = self.selection(tokens_BTD, levels)
        contents, references, blocked, num_denoising = selected.contents_BQD, selected.references_BQ4, None, 0
        if denoising is not None:
            num_denoising = denoising.contents_BND.shape[1]
            contents = torch.cat([denoising.contents_BND, contents], dim=1)
            references = torch.cat([denoising.references_BN4, references], dim=1)
            blocked = denoising.blocked(selected.references_BQ4.shape[1])
        said = self.decoder(contents, references, tokens_BTD, levels=levels, blocked_NN=blocked)
        return Output(
            selected=selected,
            matched=_part(said, slice(num_denoising, None)),
            denoised=_part(said, slice(num_denoising)),
        )


def _part(said: Predictions, queries: slice) -> Predictions:
    return Predictions(logits_LBNK=said.logits_LBNK[:, :, queries], boxes_LBN4=said.boxes_LBN4[:, :, queries])
