"""torchvision's Faster R-CNN with ResNet-50 and FPN behind the detector adapter.

In and out: as `model.detector.Detector` says; the class 0 that torchvision keeps for background is added and
taken away here. Images come normalised and padded, so torchvision's own transform is passed by. Batch-norm is
frozen, and so are stem and first stage. Guaranteed: the state dict of `network` loads strictly into
`torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, num_classes=num_classes + 1)`, whose
transform normalises with the ImageNet mean and deviation.

Random: proposals and anchors are sampled for the loss from torch's global generator (torchvision's own
samplers), so a checkpoint that is to resume exactly holds that generator's state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d

from model.detector import Detections, Detector, Sizes, Target, has_area, require_matching
from model.detectors.torchvision.weights import load_pretrained

TRAINABLE_LAYERS = 3
"""Stages of ResNet-50 that learn, from the top: stem and first stage do not."""


class FasterRCNNResNet50(Detector):
    """Two-stage detector; the bare torchvision model is `network`."""

    def __init__(
        self,
        *,
        num_classes: int,
        weights: str = "none",
        min_score: float = 0.05,
        nms_iou: float = 0.5,
        max_detections: int = 100,
        trainable_layers: int = TRAINABLE_LAYERS,
    ) -> None:
        """Draw the weights from torch's global generator, then load what `weights` names over them.

        `weights`: none, imagenet (backbone), coco (all but a box predictor for other classes) or the path of
        a torchvision state dict of either kind. Raises WeightsError when they cannot be had.
        `trainable_layers`: stages that learn, counted from the top; 5 leaves nothing frozen but the
        batch-norm, for training from scratch.
        """
        super().__init__()
        self.num_classes = num_classes
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50",
            weights=None,
            norm_layer=FrozenBatchNorm2d,
            trainable_layers=trainable_layers,
        )
        self.network: Any = FasterRCNN(
            backbone,
            num_classes=num_classes + 1,
            box_score_thresh=min_score,
            box_nms_thresh=nms_iou,
            box_detections_per_img=max_detections,
        )
        if weights == "none":
            halve_residual_branches(self.network)
        else:
            load_pretrained(self.network, weights)
        cast_outputs_to_float32(self.network)

    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return torchvision's four parts: two of the proposals, two of the box head. Needs train mode."""
        require_matching(images_BCHW, sizes_B2, targets)
        if not self.training:
            raise ValueError("expected a detector in train mode: call .train() before .losses()")
        wanted = [as_torchvision(target) for target in targets]
        images = ImageList(images_BCHW, [tuple(size) for size in sizes_B2])
        features = self.network.backbone(images_BCHW)
        proposals, proposal_losses = self.network.rpn(images, features, wanted)
        _, box_losses = self.network.roi_heads(features, proposals, images.image_sizes, wanted)
        return {**proposal_losses, **box_losses}

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the best detections of every image after class-wise NMS."""
        require_matching(images_BCHW, sizes_B2)
        images = ImageList(images_BCHW, [tuple(size) for size in sizes_B2])
        features = self.network.backbone(images_BCHW)
        proposals, _ = self.network.rpn(images, features)
        results, _ = self.network.roi_heads(features, proposals, images.image_sizes)
        return [as_detections(result) for result in results]

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of ResNet-50."""
        body: nn.Module = self.network.backbone.body
        return body.parameters()


def as_torchvision(target: Target) -> dict[str, Tensor]:
    """Return torchvision's form: classes from 1, no degenerate box (its logarithm would be infinite)."""
    solid = target.without_degenerate()
    return {"boxes": solid.boxes_N4.float(), "labels": solid.categories_N + 1}


def as_detections(result: dict[str, Tensor]) -> Detections:
    """Return torchvision's detections of one image with classes from 0."""
    keep_N = has_area(result["boxes"])
    return Detections(
        boxes_N4=result["boxes"][keep_N],
        categories_N=result["labels"][keep_N] - 1,
        scores_N=result["scores"][keep_N],
    )


def cast_outputs_to_float32(network: Any) -> None:
    """Have backbone and heads hand over float32 under autocast.

    torchvision gives anchors and decoded boxes the dtype of features and head outputs; in bfloat16 a
    coordinate of 600 px is rounded to a multiple of 4 px. Hooks leave the state dict's names alone.
    """
    for module in (network.backbone, network.rpn.head, network.roi_heads.box_predictor):
        module.register_forward_hook(_float32_hook)


def _float32_hook(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    return _to_float32(outputs)


def _to_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return type(value)((name, part.float()) for name, part in value.items())
    return type(value)(_to_float32(part) for part in value)


@torch.no_grad()
def halve_residual_branches(network: Any) -> None:
    """Halve the residual branches of an unpretrained ResNet, whose frozen norms are the identity.

    On unit noise the four stages then deviate by 0.26, 0.36, 0.48 and 0.40; unscaled by 0.5, 2.3, 12 and 17.
    """
    for module in network.backbone.body.modules():
        if hasattr(module, "bn3"):
            module.bn3.weight.fill_(0.5)
