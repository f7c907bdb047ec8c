"""The compact FCOS network: GroupNorm residual backbone, feature pyramid, one shared head.

In: normalised images. Out: for every location of every level, class logits, four distances in pixels and a
centreness logit. About 265 k parameters at ten classes; learns dense small objects from scratch in minutes.

Shapes: B images, L locations of all levels in order (fine to coarse, row by row), K classes.
Levels have strides 4, 8 and 16: stride 4 is what makes 14-32 px objects learnable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (4, 8, 16)
NUM_GROUPS = 8
MAX_LOG_DISTANCE = 5.0
"""Distances reach at most exp(5) = 148 strides: 593 px on the finest level, 2375 on the coarsest."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawPredictions:
    """What the network says at every location, float32."""

    class_logits_BLK: Tensor
    distances_BL4: Tensor
    """Positive distances from the location to the left, top, right and bottom side, pixels."""
    centreness_logits_BL: Tensor


class FCOSNetwork(nn.Module):
    """Backbone, pyramid and head; every level shares one tower of two convolutions and one predictor."""

    def __init__(
        self,
        *,
        num_classes: int,
        widths: tuple[int, int, int, int] = (16, 32, 64, 96),
        pyramid_width: int = 32,
    ) -> None:
        super().__init__()
        stem, *stages = widths
        self.num_classes = num_classes
        self.backbone = Backbone(stem, stages)
        self.pyramid = Pyramid(stages, pyramid_width)
        self.tower = nn.Sequential(
            *[ConvNormReLU(pyramid_width, pyramid_width) for _ in range(2)],
        )
        self.predictor = nn.Conv2d(pyramid_width, num_classes + 5, 3, padding=1)
        self.distance_scales = nn.Parameter(torch.ones(len(STRIDES)))
        initialise(self)

    def forward(self, images_BCHW: Tensor) -> RawPredictions:
        """Return the predictions at all locations of `images_BCHW`."""
        levels = self.pyramid(self.backbone(images_BCHW))
        outputs = [self.predictor(self.tower(level)).float() for level in levels]
        flat = [output.permute(0, 2, 3, 1).flatten(1, 2) for output in outputs]
        return self._split(flat)

    def _split(self, flat: list[Tensor]) -> RawPredictions:
        num_classes = self.num_classes
        distances = [
            (level[..., num_classes : num_classes + 4] * scale).clamp(max=MAX_LOG_DISTANCE).exp() * stride
            for level, scale, stride in zip(flat, self.distance_scales, STRIDES, strict=True)
        ]
        joined = torch.cat(flat, dim=1)
        return RawPredictions(
            class_logits_BLK=joined[..., :num_classes],
            distances_BL4=torch.cat(distances, dim=1),
            centreness_logits_BL=joined[..., -1],
        )


class ConvNormReLU(nn.Sequential):
    """3 x 3 convolution, GroupNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.GroupNorm(NUM_GROUPS, outputs),
            nn.ReLU(inplace=True),
        )


class ResidualStage(nn.Module):
    """One residual block that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(inputs, outputs, stride=2)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(NUM_GROUPS, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of half the resolution."""
        branch = self.norm(self.second(self.first(features)))
        return functional.relu(branch + self.shortcut(features), inplace=True)


class Backbone(nn.Module):
    """Stem at stride 2 and three residual stages at strides 4, 8 and 16."""

    def __init__(self, stem: int, stages: list[int]) -> None:
        super().__init__()
        self.stem = ConvNormReLU(3, stem, stride=2)
        self.stages = nn.ModuleList(
            ResidualStage(inputs, outputs)
            for inputs, outputs in zip([stem, *stages[:-1]], stages, strict=True)
        )

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return one feature map a stride, fine to coarse."""
        features = self.stem(images_BCHW)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels


class Pyramid(nn.Module):
    """Feature pyramid: coarse levels are added to finer ones from the top down."""

    def __init__(self, inputs: list[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.outputs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in inputs)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the levels, fine to coarse, all of one width."""
        merged = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        for index in reversed(range(len(merged) - 1)):
            coarse = functional.interpolate(merged[index + 1], scale_factor=2.0, mode="nearest")
            merged[index] = merged[index] + coarse
        return [output(level) for output, level in zip(self.outputs, merged, strict=True)]


def initialise(network: FCOSNetwork, class_prior: float = 0.01, log_distance: float = 1.0) -> None:
    """Draw the first weights: He for convolutions, small ones for the predictor.

    Class scores begin at `class_prior`, distances at exp(`log_distance`) strides: 11 px on the finest level,
    half an object of 22 px. Against a beginning at one stride, 800 steps on 20 / 1,000 drawn images gave AP50
    51 / 92 instead of 50 / 88 (mean of two seeds / one seed).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    predictor = network.predictor
    assert predictor.bias is not None
    nn.init.normal_(predictor.weight, std=0.01)
    with torch.no_grad():
        predictor.bias[: network.num_classes] = -math.log((1 - class_prior) / class_prior)
        predictor.bias[network.num_classes : network.num_classes + 4] = log_distance
