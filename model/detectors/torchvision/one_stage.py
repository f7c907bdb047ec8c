"""torchvision's FCOS and RetinaNet with a ResNet and FPN behind the detector adapter.

Batch-norm is frozen, and so are stem and first stage; the pyramid has the levels P3 to P7. The state dict of
`network` loads strictly into `torchvision.models.detection.fcos_resnet50_fpn` and `retinanet_resnet50_fpn`. The
score of FCOS is sqrt(class x centreness). Sources: FCOS (arXiv 1904.01355), RetinaNet (1708.02002).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from model.detectors.torchvision.adapter import Features, Targets, TorchvisionDetector
from model.detectors.torchvision.backbone import PYRAMID_CHANNELS, TRAINABLE_STAGES, build_backbone


class OneStageDetector(TorchvisionDetector):
    """A head that is the same at every level of the pyramid, and what it says of every anchor."""

    kind: ClassVar[type[FCOS] | type[RetinaNet]]
    """The class of the library's model."""
    nms_iou: ClassVar[float]

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "resnet50",
        trainable_stages: int = TRAINABLE_STAGES,
        min_score: float = 0.05,
        max_detections: int = 100,
    ) -> None:
        """Draw the weights from torch's global generator."""
        extra_levels = LastLevelP6P7(PYRAMID_CHANNELS, PYRAMID_CHANNELS)
        body = build_backbone(
            backbone, first_stage=2, trainable_stages=trainable_stages, extra_levels=extra_levels
        )
        network = self.kind(
            body,
            num_classes=num_classes + 1,
            score_thresh=min_score,
            nms_thresh=self.nms_iou,
            detections_per_img=max_detections,
        )
        super().__init__(network, num_classes=num_classes, heads=[network.head])

    def find_boxes(self, images: ImageList, features: Features) -> list[dict[str, Tensor]]:
        """Return the best detections of every image."""
        outputs, anchors, counts = self._head_outputs(images, features)
        by_level = {name: list(torch.split(output, counts, dim=1)) for name, output in outputs.items()}
        anchors_by_level = [list(torch.split(boxes, counts)) for boxes in anchors]
        results = self.network.postprocess_detections(by_level, anchors_by_level, images.image_sizes)
        return list(results)

    def _head_outputs(
        self, images: ImageList, features: Features
    ) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        """Return the head's outputs, the anchors of every image, and the number of anchors of each level."""
        levels = list(features.values())
        outputs: dict[str, Tensor] = self.network.head(levels)
        anchors: list[Tensor] = self.network.anchor_generator(images, levels)
        locations = [math.prod(level.shape[-2:]) for level in levels]
        anchors_a_location = len(anchors[0]) // sum(locations)
        return outputs, anchors, [count * anchors_a_location for count in locations]


class FCOSDetector(OneStageDetector):
    """Anchor-free detector."""

    kind = FCOS
    nms_iou = 0.6

    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's three parts: of classes, boxes and centreness."""
        outputs, anchors, counts = self._head_outputs(images, features)
        parts: dict[str, Tensor] = self.network.compute_loss(targets, outputs, anchors, counts)
        return parts


class RetinaNetDetector(OneStageDetector):
    """Anchor-based detector with the focal loss."""

    kind = RetinaNet
    nms_iou = 0.5

    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's two parts: of classes and boxes."""
        outputs, anchors, _ = self._head_outputs(images, features)
        parts: dict[str, Tensor] = self.network.compute_loss(targets, outputs, anchors)
        return parts
