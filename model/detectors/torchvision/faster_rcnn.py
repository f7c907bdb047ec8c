"""torchvision's Faster R-CNN with a ResNet and FPN behind the detector adapter, in both of its versions.

Version 1: batch-norm frozen, and so are stem and first stage; the state dict of `network` loads strictly into
`torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, num_classes=num_classes + 1)`. Version 2 (Li et
al., arXiv 2111.11429): live batch-norm, a deeper head of proposals, four convolutions before the box predictor;
loads into `fasterrcnn_resnet50_fpn_v2`. Both normalise with the ImageNet mean and deviation.

Random: proposals and anchors are sampled for the loss from torch's global generator (torchvision's own
samplers), so a checkpoint that is to resume exactly holds that generator's state.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead

from model.detector import Candidates
from model.detectors.spec import Norm, Size
from model.detectors.torchvision.adapter import Features, Targets, TorchvisionDetector
from model.detectors.torchvision.backbone import (
    ANCHOR_SIDES,
    ASPECT_RATIOS,
    PYRAMID_CHANNELS,
    TRAINABLE_STAGES,
    build_backbone,
)

Version = Literal[1, 2]
_HEAD_WIDTH: dict[Size, int] = {"standard": 1024, "compact": 256}
_POOLED = 7
"""Side in cells of the features that are pooled for a proposal."""


class FasterRCNNDetector(TorchvisionDetector):
    """Two-stage detector."""

    def __init__(
        self,
        *,
        num_classes: int,
        version: Version = 1,
        backbone: str = "resnet50",
        norm: Norm | None = None,
        size: Size = "standard",
        trainable_stages: int = TRAINABLE_STAGES,
        min_score: float = 0.05,
        nms_iou: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        """Draw the weights from torch's global generator. `norm`: None is the version's."""
        norm = norm or ("frozen" if version == 1 else "live")
        network = FasterRCNN(
            build_backbone(backbone, norm=norm, size=size, trainable_stages=trainable_stages),
            box_score_thresh=min_score,
            box_nms_thresh=nms_iou,
            box_detections_per_img=max_detections,
            **_heads(version, size, num_classes + 1),
        )
        heads = [network.rpn.head, network.roi_heads.box_predictor]
        super().__init__(network, num_classes=num_classes, max_detections=max_detections, heads=heads)

    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's four parts: two of the proposals, two of the box head."""
        proposals, proposal_losses = self.network.rpn(images, features, targets)
        _, box_losses = self.network.roi_heads(features, proposals, images.image_sizes, targets)
        return {**proposal_losses, **box_losses}

    def match(self, images: ImageList, features: Features, targets: Targets) -> list[Candidates]:
        """Return what the box head said of the proposals that its loss samples."""
        proposals, _ = self.network.rpn(images, features, targets)
        roi = self.network.roi_heads
        proposals, _, labels, _ = roi.select_training_samples(proposals, targets)
        pooled = roi.box_head(roi.box_roi_pool(features, proposals, images.image_sizes))
        logits, codes = roi.box_predictor(pooled)
        boxes = roi.box_coder.decode(codes, proposals)
        counts = [len(boxes_A4) for boxes_A4 in proposals]
        return [
            self._candidates(*of_image)
            for of_image in zip(logits.split(counts), boxes.split(counts), labels, strict=True)
        ]

    def _candidates(self, logits_AK: Tensor, boxes_AK4: Tensor, labels_A: Tensor) -> Candidates:
        """Return torchvision's candidates of an image with the background, its class 0, last."""
        best_A = logits_AK[:, 1:].argmax(dim=1) + 1
        return Candidates(
            logits_AK=logits_AK.roll(-1, dims=1),
            classes_A=torch.where(labels_A > 0, labels_A - 1, self.num_classes),
            boxes_A4=boxes_AK4[torch.arange(len(best_A), device=best_A.device), best_A],
            activation="softmax",
        )

    def find_boxes(self, images: ImageList, features: Features) -> list[dict[str, Tensor]]:
        """Return the best detections of every image."""
        proposals, _ = self.network.rpn(images, features)
        results, _ = self.network.roi_heads(features, proposals, images.image_sizes)
        return list(results)


def _heads(version: Version, size: Size, num_classes: int) -> dict[str, Any]:
    """Return the heads that are not torchvision's default; the channels of version 2 are those of Li et al."""
    channels, width = PYRAMID_CHANNELS[size], _HEAD_WIDTH[size]
    sides = tuple((side,) for side in ANCHOR_SIDES[size])
    heads: dict[str, Any] = {"rpn_anchor_generator": AnchorGenerator(sides, (ASPECT_RATIOS,) * len(sides))}
    if version == 2:
        heads["rpn_head"] = RPNHead(channels, len(ASPECT_RATIOS), conv_depth=2)
        heads["box_head"] = FastRCNNConvFCHead(
            (channels, _POOLED, _POOLED), [channels] * 4, [width], norm_layer=nn.BatchNorm2d
        )
    elif size == "compact":
        heads["box_head"] = TwoMLPHead(channels * _POOLED**2, width)
    if size == "standard":
        return {**heads, "num_classes": num_classes}
    return {**heads, "box_predictor": FastRCNNPredictor(width, num_classes)}
