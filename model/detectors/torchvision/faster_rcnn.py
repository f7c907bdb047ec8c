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

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead

from model.detectors.torchvision.adapter import Features, Targets, TorchvisionDetector
from model.detectors.torchvision.backbone import PYRAMID_CHANNELS, TRAINABLE_STAGES, build_backbone

Version = Literal[1, 2]
_ANCHORS_A_LOCATION = 3
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
        trainable_stages: int = TRAINABLE_STAGES,
        min_score: float = 0.05,
        nms_iou: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        """Draw the weights from torch's global generator."""
        network = FasterRCNN(
            build_backbone(
                backbone, norm="frozen" if version == 1 else "live", trainable_stages=trainable_stages
            ),
            num_classes=num_classes + 1,
            box_score_thresh=min_score,
            box_nms_thresh=nms_iou,
            box_detections_per_img=max_detections,
            **({} if version == 1 else _heads_of_version_2()),
        )
        heads = [network.rpn.head, network.roi_heads.box_predictor]
        super().__init__(network, num_classes=num_classes, heads=heads)

    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's four parts: two of the proposals, two of the box head."""
        proposals, proposal_losses = self.network.rpn(images, features, targets)
        _, box_losses = self.network.roi_heads(features, proposals, images.image_sizes, targets)
        return {**proposal_losses, **box_losses}

    def find_boxes(self, images: ImageList, features: Features) -> list[dict[str, Tensor]]:
        """Return the best detections of every image."""
        proposals, _ = self.network.rpn(images, features)
        results, _ = self.network.roi_heads(features, proposals, images.image_sizes)
        return list(results)


def _heads_of_version_2() -> dict[str, Any]:
    """Return the two heads; the channels are those of Li et al."""
    return {
        "rpn_head": RPNHead(PYRAMID_CHANNELS, _ANCHORS_A_LOCATION, conv_depth=2),
        "box_head": FastRCNNConvFCHead(
            (PYRAMID_CHANNELS, _POOLED, _POOLED), [256, 256, 256, 256], [1024], norm_layer=nn.BatchNorm2d
        ),
    }
