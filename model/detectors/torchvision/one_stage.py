"""torchvision's FCOS and RetinaNet with a ResNet and FPN behind the detector adapter.

Batch-norm is frozen, and so are stem and first stage; the pyramid has the levels P3 to P7. The state dict of
`network` loads strictly into `torchvision.models.detection.fcos_resnet50_fpn` and `retinanet_resnet50_fpn`. The
score of FCOS is sqrt(class x centreness). Sources: FCOS (arXiv 1904.01355), RetinaNet (1708.02002).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outputs:
    """What the head says of a batch."""

    head: dict[str, Tensor]
    """cls_logits (B, A, K) and bbox_regression (B, A, 4), for FCOS bbox_ctrness (B, A, 1)."""
    anchors: list[Tensor]
    """The anchors (A, 4) of each image, fine level to coarse."""
    counts: list[int]
    """Anchors of each level."""


class _OtherHead:
    """A network with another head."""

    def __init__(self, network: Any, head: Any) -> None:
        self._network, self.head = network, head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


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
        norm: Norm = "frozen",
        size: Size = "standard",
        trainable_stages: int = TRAINABLE_STAGES,
        min_score: float = 0.05,
        max_detections: int = 100,
    ) -> None:
        """Draw the weights from torch's global generator."""
        channels = PYRAMID_CHANNELS[size]
        body = build_backbone(
            backbone,
            norm=norm,
            size=size,
            first_stage=2,
            trainable_stages=trainable_stages,
            extra_levels=LastLevelP6P7(channels, channels),
        )
        network = self.kind(
            body,
            num_classes=num_classes + 1,
            **self.anchors(size),
            score_thresh=min_score,
            nms_thresh=self.nms_iou,
            detections_per_img=max_detections,
        )
        super().__init__(
            network, num_classes=num_classes, max_detections=max_detections, heads=[network.head]
        )

    @staticmethod
    def anchors(_size: Size) -> dict[str, Any]:
        """Return the library's argument for anchors; none where locations have no size of their own."""
        return {}

    @abstractmethod
    def loss_of(self, network: Any, outputs: Outputs, targets: Targets) -> Any:
        """Return what the library's `compute_loss` makes of the head's outputs, with `network` as its self."""

    @abstractmethod
    def decode(self, codes_A4: Tensor, anchors_A4: Tensor) -> Tensor:
        """Return the boxes (A, 4) that the head's output means."""

    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's parts: of classes, boxes and, for FCOS, centreness."""
        parts: dict[str, Tensor] = self.loss_of(self.network, self._head_outputs(images, features), targets)
        return parts

    def match(self, images: ImageList, features: Features, targets: Targets) -> list[Candidates]:
        """Return what was said of every anchor or location.

        The library matches and adds up in one function, and hands the matches to its head: here to one that
        returns them.
        """
        outputs = self._head_outputs(images, features)
        head = SimpleNamespace(compute_loss=lambda _targets, _outputs, _anchors, matches: matches)
        matches = self.loss_of(_OtherHead(self.network, head), outputs, targets)
        return [
            Candidates(
                logits_AK=logits_AK.roll(-1, dims=1),  # torchvision's class 0, background, comes last
                classes_A=self._classes(index_A, target["labels"]),
                boxes_A4=self.decode(codes_A4, anchors_A4),
                activation="sigmoid",
            )
            for logits_AK, codes_A4, anchors_A4, index_A, target in zip(
                outputs.head["cls_logits"],
                outputs.head["bbox_regression"],
                outputs.anchors,
                matches,
                targets,
                strict=True,
            )
        ]

    def _classes(self, index_A: Tensor, labels_N: Tensor) -> Tensor:
        """Return the class that every candidate is to be, from the place of its box among the image's boxes."""
        classes_A = torch.full_like(index_A, self.num_classes)
        classes_A[index_A == Matcher.BETWEEN_THRESHOLDS] = -1
        matched_A = index_A >= 0
        classes_A[matched_A] = labels_N[index_A[matched_A]] - 1
        return classes_A

    def find_boxes(self, images: ImageList, features: Features) -> list[dict[str, Tensor]]:
        """Return the best detections of every image."""
        outputs = self._head_outputs(images, features)
        by_level = {
            name: list(torch.split(value, outputs.counts, dim=1)) for name, value in outputs.head.items()
        }
        anchors_by_level = [list(torch.split(boxes, outputs.counts)) for boxes in outputs.anchors]
        results = self.network.postprocess_detections(by_level, anchors_by_level, images.image_sizes)
        return list(results)

    def _head_outputs(self, images: ImageList, features: Features) -> Outputs:
        levels = list(features.values())
        head: dict[str, Tensor] = self.network.head(levels)
        anchors: list[Tensor] = self.network.anchor_generator(images, levels)
        locations = [math.prod(level.shape[-2:]) for level in levels]
        num_anchors = anchors[0].shape[0]  # len() would fix the size of an exported graph
        anchors_a_location = num_anchors // sum(locations)
        return Outputs(head=head, anchors=anchors, counts=[count * anchors_a_location for count in locations])


class FCOSDetector(OneStageDetector):
    """Anchor-free detector."""

    kind = FCOS
    nms_iou = 0.6

    def loss_of(self, network: Any, outputs: Outputs, targets: Targets) -> Any:
        """Return FCOS's loss."""
        return FCOS.compute_loss(network, targets, outputs.head, outputs.anchors, outputs.counts)

    def decode(self, codes_A4: Tensor, anchors_A4: Tensor) -> Tensor:
        """Return the boxes at these distances, in strides, from the locations."""
        boxes_A4: Tensor = self.network.box_coder.decode(codes_A4, anchors_A4)
        return boxes_A4


class RetinaNetDetector(OneStageDetector):
    """Anchor-based detector with the focal loss."""

    kind = RetinaNet
    nms_iou = 0.5

    @staticmethod
    def anchors(size: Size) -> dict[str, Any]:
        """Return anchors of three scales an octave (RetinaNet, section 4), in the whole pixels of the library."""
        sides = tuple(tuple(int(side * 2 ** (part / 3)) for part in range(3)) for side in ANCHOR_SIDES[size])
        return {"anchor_generator": AnchorGenerator(sides, (ASPECT_RATIOS,) * len(sides))}

    def loss_of(self, network: Any, outputs: Outputs, targets: Targets) -> Any:
        """Return RetinaNet's loss."""
        return RetinaNet.compute_loss(network, targets, outputs.head, outputs.anchors)

    def decode(self, codes_A4: Tensor, anchors_A4: Tensor) -> Tensor:
        """Return the anchors, moved and scaled."""
        boxes_A4: Tensor = self.network.box_coder.decode_single(codes_A4, anchors_A4)
        return boxes_A4
