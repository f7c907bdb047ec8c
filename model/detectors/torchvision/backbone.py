"""A ResNet of torchvision, with a feature pyramid on top or without.

In: the name of a ResNet, which stages the pyramid sees, how batch-norm is kept. Out: the backbone, with the names
of parameters that torchvision's own builders give it, weights drawn from torch's global generator.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet, get_model, list_models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool

from model.detectors.spec import Norm, Size
from model.detectors.timm_backbone import PREFIX, build_timm_stages
from model.errors import ModelError

PYRAMID_CHANNELS: dict[Size, int] = {"standard": 256, "compact": 64}
ANCHOR_SIDES: dict[Size, tuple[int, ...]] = {
    "standard": (32, 64, 128, 256, 512),
    "compact": (16, 32, 64, 128, 256),
}
"""Side in pixels of the smallest anchor of each level. Compact is for views of about half the published size, where
objects are half as large: its anchors are half the library's."""
ASPECT_RATIOS = (0.5, 1.0, 2.0)
TRAINABLE_STAGES = 3
"""Stages of a ResNet that learn, from the top: stem and first stage do not."""

_STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")
_STRIDES = (4, 8, 16, 32)
_NORMS = {"frozen": FrozenBatchNorm2d, "live": nn.BatchNorm2d}


def build_backbone(
    name: str,
    *,
    norm: Norm = "frozen",
    size: Size = "standard",
    first_stage: int = 1,
    trainable_stages: int = TRAINABLE_STAGES,
    extra_levels: ExtraFPNBlock | None = None,
) -> BackboneWithFPN | StagesWithFPN:
    """Return a backbone with a pyramid (256 channels, compact: 64) over its stages from `first_stage` to 4.

    `norm` live: batch-norm learns and follows the batches, in the pyramid too, which has none where it is frozen.
    `trainable_stages`: counted from the top; 5 leaves nothing frozen but the batch-norm. Raises ModelError
    for a name that is neither a ResNet of torchvision nor a pyramid of timm, of which all learns.
    """
    norm_layer = _NORMS["live"] if norm == "live" else None
    if name.startswith(PREFIX):
        stages, channels = build_stages(name, norm=norm, first_stage=first_stage)
        return StagesWithFPN(stages, channels, PYRAMID_CHANNELS[size], extra_levels, norm_layer)
    body = _build_body(name, norm=norm, trainable_stages=trainable_stages)
    return BackboneWithFPN(
        body,
        return_layers=_stages_from(first_stage),
        in_channels_list=_channels_from(body, first_stage),
        out_channels=PYRAMID_CHANNELS[size],
        extra_blocks=extra_levels,
        norm_layer=norm_layer,
    )


def build_stages(
    name: str, *, norm: Norm = "frozen", first_stage: int = 2, trainable_stages: int = TRAINABLE_STAGES
) -> tuple[nn.Module, list[int]]:
    """Return a backbone without a pyramid, which gives a mapping of its stages from `first_stage` to 4, and the
    channels of each. Arguments and errors as of `build_backbone`.
    """
    if name.startswith(PREFIX):
        return build_timm_stages(name, norm=norm, strides=_STRIDES[first_stage - 1 :])
    body = _build_body(name, norm=norm, trainable_stages=trainable_stages)
    return IntermediateLayerGetter(body, _stages_from(first_stage)), _channels_from(body, first_stage)


def _build_body(name: str, *, norm: Norm, trainable_stages: int) -> Any:
    """Return a ResNet of torchvision, its stem and stages frozen but for the last `trainable_stages`."""
    body = _resnet(name, norm)
    _freeze(body, _STAGES[: len(_STAGES) - trainable_stages])
    if norm == "frozen":
        halve_residual_branches(body)
    return body


def _stages_from(first_stage: int) -> dict[str, str]:
    """Return the names of the stages as modules, and as keys of the mapping that they give."""
    return {f"layer{stage}": str(number) for number, stage in enumerate(range(first_stage, 5))}


def _channels_from(body: Any, first_stage: int) -> list[int]:
    return [body.inplanes // 2 ** (4 - stage) for stage in range(first_stage, 5)]


class StagesWithFPN(nn.Module):
    """Stages with a pyramid on top, as torchvision's `BackboneWithFPN` over a network that gives a mapping."""

    def __init__(
        self,
        body: nn.Module,
        channels: list[int],
        out_channels: int,
        extra_levels: ExtraFPNBlock | None,
        norm_layer: type[nn.Module] | None,
    ) -> None:
        super().__init__()
        self.body, self.out_channels = body, out_channels
        self.fpn = FeaturePyramidNetwork(
            channels, out_channels, extra_blocks=extra_levels or LastLevelMaxPool(), norm_layer=norm_layer
        )

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the levels of the pyramid by name, fine to coarse."""
        levels: dict[str, Tensor] = self.fpn(self.body(images_BCHW))
        return levels


@torch.no_grad()
def halve_residual_branches(body: Any) -> None:
    """Halve the residual branches of an unpretrained ResNet, whose frozen norms are the identity.

    On unit noise the four stages of ResNet-50 then deviate by 0.26, 0.36, 0.48 and 0.40; unscaled by 0.5, 2.3,
    12 and 17. Weights that are loaded later replace the factor.
    """
    for module in body.modules():
        last_norm = getattr(module, "bn3", None) or (
            hasattr(module, "conv2") and getattr(module, "bn2", None)
        )
        if last_norm:
            last_norm.weight.fill_(0.5)


def _resnet(name: str, norm: Norm) -> Any:
    resnets = list_models(module=torchvision.models, include="*resne*t*")
    body = get_model(name, weights=None, norm_layer=_NORMS[norm]) if name in resnets else None
    if not isinstance(body, ResNet):
        raise ModelError(
            f"expected a ResNet of torchvision (resnet18, resnet34, resnet50, resnet101, …) or a backbone of timm "
            f"(timm/NAME), got {name!r}: give --model.backbone one of these, or leave it out"
        )
    return body


def _freeze(body: ResNet, stages: tuple[str, ...]) -> None:
    frozen = (*stages, "bn1") if stages else ()
    for name, parameter in body.named_parameters():
        if name.split(".")[0] in frozen:
            parameter.requires_grad_(False)
