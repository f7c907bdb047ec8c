"""A network of transformers from its configuration alone: nothing is downloaded.

In: a detector's name, its size and the number of classes. Out: the bare model of transformers, its weights drawn
from torch's global generator. Guaranteed: a class bias starts at a score of 0.01; `save_pretrained` of the network
writes what the library's own `from_pretrained` reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from typing import Any

import torch
from torch import nn

from model.detectors.huggingface.family import COMPACT_BACKBONE, Family, family_of
from model.detectors.spec import HuggingFaceName, Norm, Size
from model.detectors.timm_backbone import PREFIX
from model.errors import ModelError

PYRAMID_STRIDES = (8, 16, 32)
CLASS_PRIOR = 0.01
_BACKBONE = re.compile(r"^model\.(backbone|conv_encoder)(\.conv_encoder)?\.(backbone|model)$")
CLASS_HEADS = re.compile(r"(class_embed|class_labels_classifier|enc_score_head)(\.\d+)?\.(weight|bias)$")
"""Weights whose shapes go by the number of classes."""


def classes_of(name: HuggingFaceName) -> tuple[Any, Any]:
    """Return the library's classes of configuration and network. Raises ModelError where it is not installed."""
    try:
        import timm  # noqa: F401 - the library finds backbones through it
        import transformers as hf
    except ImportError as error:
        raise ModelError(
            f"{name} is built by transformers and timm, and {error.name} is not installed: "
            "pip install 'mixpl[detr]'"
        ) from error
    match name:
        case "rtdetr":
            return hf.RTDetrConfig, hf.RTDetrForObjectDetection
        case "rtdetr-v2":
            return hf.RTDetrV2Config, hf.RTDetrV2ForObjectDetection
        case "dfine":
            return hf.DFineConfig, hf.DFineForObjectDetection
        case "deimv2":
            return hf.Deimv2Config, hf.Deimv2ForObjectDetection
        case "deformable-detr":
            return hf.DeformableDetrConfig, hf.DeformableDetrForObjectDetection
        case "detr":
            return hf.DetrConfig, hf.DetrForObjectDetection
        case "conditional-detr":
            return hf.ConditionalDetrConfig, hf.ConditionalDetrForObjectDetection
        case "dab-detr":
            return hf.DabDetrConfig, hf.DabDetrForObjectDetection
        case "rf-detr":
            return hf.RfDetrConfig, hf.RfDetrForObjectDetection
        case "lw-detr":
            return hf.LwDetrConfig, hf.LwDetrForObjectDetection


def build_network(
    name: HuggingFaceName, *, num_classes: int, size: Size, backbone: str | None, norm: Norm | None
) -> Any:
    """Return a network with drawn weights.

    `backbone`: one of timm by name, with or without `timm/` before it; None is the published one, or
    tf_efficientnet_lite0 in size compact. `norm` live: the backbone's batch-norm learns and follows the batches.
    Raises ModelError for a backbone that the detector cannot have.
    """
    config_class, network_class = classes_of(name)
    family = family_of(name)
    values = dict(family.standard if size == "standard" else family.compact)
    if backbone is None and size == "compact" and family.backbone != "own":
        backbone = COMPACT_BACKBONE
    if backbone is not None:
        values |= _backbone_values(name, family, backbone.removeprefix(PREFIX))
    network = network_class(config_class(**values, num_labels=num_classes))
    start_class_biases(network, family)
    if norm == "live":
        thaw_norms(network)
    return network


@torch.no_grad()
def start_class_biases(network: nn.Module, family: Family, only: Container[str] | None = None) -> None:
    """Set class biases (all, or those of the names `only`) to a score of 0.01; those of a softmax stay as drawn."""
    if family.activation == "softmax":
        return
    for name, parameter in network.named_parameters():
        is_class_bias = name.endswith(".bias") and CLASS_HEADS.search(name)
        if is_class_bias and (only is None or name in only):
            parameter.fill_(-math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))


def thaw_norms(network: Any) -> None:
    """Put torch's batch-norm where the library froze it, with the same state, and let the whole backbone learn.

    The names in the state dict stay; the library's own loader leaves out the count of batches.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child).__name__.endswith("FrozenBatchNorm2d"):
                live = nn.BatchNorm2d(len(child.weight))
                live.load_state_dict(child.state_dict(), strict=False)
                setattr(module, name, live)
    backbone_of(network).requires_grad_(True)


def backbone_of(network: Any) -> nn.Module:
    """Return the backbone without what the detector puts on top of it."""
    found: nn.Module = next(module for name, module in network.named_modules() if _BACKBONE.search(name))
    return found


def strides_of(config: Any) -> tuple[int, ...]:
    """Return the strides of the maps whose best locations become queries; none where queries are learned."""
    match config.model_type:
        case "rt_detr" | "rt_detr_v2" | "d_fine" | "deimv2":
            return tuple(config.feat_strides[: config.num_feature_levels])
        case "deformable_detr" if config.two_stage:
            return tuple(PYRAMID_STRIDES[0] * 2**level for level in range(config.num_feature_levels))
        case "rf_detr":
            return (config.backbone_config.patch_size,)
        case "lw_detr":
            patch = config.backbone_config.patch_size
            return tuple(int(patch / factor) for factor in config.projector_scale_factors)
        case _:
            return ()


def pad_multiple_of(config: Any) -> int:
    """Return what the sides of a batch must be multiples of: windows times patches, or the deepest stride."""
    backbone = config.backbone_config
    match config.model_type:
        case "rf_detr":
            return int(backbone.patch_size * backbone.num_windows)
        case "lw_detr":
            return int(backbone.patch_size * backbone.num_windows_side)
        case _:
            return PYRAMID_STRIDES[-1]


def _backbone_values(name: HuggingFaceName, family: Family, backbone: str) -> dict[str, Any]:
    """Return the values of a configuration that put a backbone of timm under a detector."""
    if family.backbone == "own":
        raise ModelError(f"{name} has a backbone of its own, got {backbone!r}: leave --model.backbone out")
    levels = _levels_of(backbone)
    if missing := [stride for stride in PYRAMID_STRIDES if stride not in levels]:
        raise ModelError(
            f"{name} needs a backbone with features at strides {', '.join(map(str, PYRAMID_STRIDES))}, got "
            f"{backbone!r} without {', '.join(map(str, missing))}"
        )
    strides = PYRAMID_STRIDES if family.backbone == "pyramid" else PYRAMID_STRIDES[-1:]
    values: dict[str, Any] = {
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": backbone,
            "features_only": True,
            "use_pretrained_backbone": False,
            "out_indices": [levels[stride][0] for stride in strides],
        }
    }
    if not family.reads_mask:  # the others read the channels off the backbone
        values["encoder_in_channels"] = [levels[stride][1] for stride in strides]
    return values


def _levels_of(backbone: str) -> dict[int, tuple[int, int]]:
    """Return, by stride, the index and the channels of a backbone's features, without drawing its weights."""
    import timm

    try:
        with torch.device("meta"):
            info: Any = timm.create_model(backbone, features_only=True).feature_info
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"expected a backbone of timm that gives features, got {backbone!r}: {error}"
        ) from error
    return {
        stride: (index, channels)
        for index, (stride, channels) in enumerate(zip(info.reduction(), info.channels(), strict=True))
    }
