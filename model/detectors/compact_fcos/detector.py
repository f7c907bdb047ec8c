"""The compact FCOS detector: small, from scratch, quick on one CPU core.

In and out: as `model.detector.Detector` says. Losses: focal loss on classes (sum / number of positives), GIoU
weighted by centreness, binary cross-entropy on centreness. The score of a detection is sqrt(class x
centreness), as in FCOS's final published code and in torchvision; mmdetection's FCOS, for which score
thresholds are published, takes the product without the root: its 0.3 is 0.55 here. Source: FCOS (arXiv
1904.01355); focal loss (1708.02002); GIoU (1902.09630).

Shapes: B images, L locations, K classes, P positive locations of the batch, N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import boxes as box_ops
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from model.detector import (
    Candidates,
    Detections,
    Detector,
    ParameterGroup,
    Sizes,
    Target,
    has_area,
    require_matching,
    split_parameters,
)
from model.detectors.compact_fcos.assignment import Locations, assign, make_locations
from model.detectors.compact_fcos.network import STRIDES, FCOSNetwork, RawPredictions


class CompactFCOS(Detector):
    """Anchor-free detector with strides 4, 8 and 16."""

    def __init__(
        self,
        *,
        num_classes: int,
        level_limits: tuple[float, float] = (32.0, 64.0),
        min_score: float = 0.05,
        nms_iou: float = 0.6,
        max_detections: int = 100,
        max_candidates: int = 1000,
    ) -> None:
        """Draw the weights from torch's global generator.

        `level_limits`: distances in pixels that part the levels. `max_candidates`: kept per image before NMS.
        """
        super().__init__()
        self.num_classes = num_classes
        self.level_limits = level_limits
        self.min_score = min_score
        self.nms_iou = nms_iou
        self.max_detections = max_detections
        self.max_candidates = max_candidates
        self.network = FCOSNetwork(num_classes=num_classes).to(memory_format=torch.channels_last)

    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the parts `loss_class`, `loss_box` and `loss_centreness`."""
        require_matching(images_BCHW, sizes_B2, targets, pad_multiple=self.pad_multiple)
        raw = self.network(images_BCHW)
        locations = self._locations(images_BCHW)
        assignment = assign(locations, sizes_B2, targets)
        image_P, location_P = assignment.positive_BL.nonzero(as_tuple=True)
        category_P = assignment.categories_BL[image_P, location_P]
        wanted_BLK = torch.zeros_like(raw.class_logits_BLK)
        wanted_BLK[image_P, location_P, category_P] = 1.0
        num_positives = max(1, len(image_P))
        class_loss = sigmoid_focal_loss(raw.class_logits_BLK, wanted_BLK, reduction="sum") / num_positives
        box_loss, centreness_loss = positive_losses(
            points_P2=locations.points_L2[location_P],
            boxes_P4=assignment.boxes_BL4[image_P, location_P],
            distances_P4=raw.distances_BL4[image_P, location_P],
            centreness_logits_P=raw.centreness_logits_BL[image_P, location_P],
        )
        return {"loss_class": class_loss, "loss_box": box_loss, "loss_centreness": centreness_loss}

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the best detections of every image after class-wise NMS."""
        require_matching(images_BCHW, sizes_B2, pad_multiple=self.pad_multiple)
        raw = self.network(images_BCHW)
        points_L2 = self._locations(images_BCHW).points_L2
        scores_BM, index_BM = self._best(raw)
        return [
            self._suppress(points_L2, raw.distances_BL4[image], scores_BM[image], index_BM[image], size)
            for image, size in enumerate(sizes_B2)
        ]

    def candidates(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> list[Candidates]:
        """Return what was said of every location, the class that the focal loss asks for, and its box."""
        require_matching(images_BCHW, sizes_B2, targets, pad_multiple=self.pad_multiple)
        raw = self.network(images_BCHW)
        locations = self._locations(images_BCHW)
        assignment = assign(locations, sizes_B2, targets)
        classes_BL = torch.where(assignment.positive_BL, assignment.categories_BL, self.num_classes)
        return [
            Candidates(
                logits_AK=logits_LK,
                classes_A=classes_L,
                boxes_A4=boxes_at(locations.points_L2, distances_L4),
                activation="sigmoid",
            )
            for logits_LK, classes_L, distances_L4 in zip(
                raw.class_logits_BLK, classes_BL, raw.distances_BL4, strict=True
            )
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return stem and stages, and the rest; decay on all."""
        return split_parameters(self, self.network.backbone)

    def _locations(self, images_BCHW: Tensor) -> Locations:
        height, width = images_BCHW.shape[-2:]
        return make_locations(
            height, width, strides=STRIDES, limits=self.level_limits, device=images_BCHW.device
        )

    def _best(self, raw: RawPredictions) -> tuple[Tensor, Tensor]:
        """Return the best scores (B, M) of every image and their place in the flattened (L, K)."""
        class_BLK = raw.class_logits_BLK.sigmoid()
        centreness_BL1 = raw.centreness_logits_BL.sigmoid()[..., None]
        scores_BLK = (class_BLK * centreness_BL1).sqrt()
        flat = scores_BLK.flatten(1)
        best = flat.topk(min(self.max_candidates, flat.shape[1]), dim=1)
        return best.values, best.indices

    def _suppress(
        self,
        points_L2: Tensor,
        distances_L4: Tensor,
        scores_M: Tensor,
        index_M: Tensor,
        size: tuple[int, int],
    ) -> Detections:
        keep_M = scores_M >= self.min_score
        scores, index = scores_M[keep_M], index_M[keep_M]
        location, category = index // self.num_classes, index % self.num_classes
        boxes = box_ops.clip_boxes_to_image(boxes_at(points_L2[location], distances_L4[location]), size)
        solid = has_area(boxes)
        boxes, scores, category = boxes[solid], scores[solid], category[solid]
        kept = box_ops.batched_nms(boxes, scores, category, self.nms_iou)[: self.max_detections]
        return Detections(boxes_N4=boxes[kept], categories_N=category[kept], scores_N=scores[kept])


def positive_losses(
    *, points_P2: Tensor, boxes_P4: Tensor, distances_P4: Tensor, centreness_logits_P: Tensor
) -> tuple[Tensor, Tensor]:
    """Return GIoU loss (mean weighted by centreness) and centreness loss (mean) of the positive locations.

    Both are zero, with zero gradients, where there is no positive location.
    """
    centreness_P = centreness(distances_to(points_P2, boxes_P4))
    giou_P = generalized_box_iou_loss(boxes_at(points_P2, distances_P4), boxes_P4)
    box_loss = (giou_P * centreness_P).sum() / centreness_P.sum().clamp(min=1e-6)
    centreness_sum = functional.binary_cross_entropy_with_logits(
        centreness_logits_P, centreness_P, reduction="sum"
    )
    return box_loss, centreness_sum / max(1, len(points_P2))


def distances_to(points_P2: Tensor, boxes_P4: Tensor) -> Tensor:
    """Return the distances (P, 4) in pixels from points to the left, top, right and bottom sides of boxes."""
    return torch.cat([points_P2 - boxes_P4[:, :2], boxes_P4[:, 2:] - points_P2], dim=1)


def boxes_at(points_P2: Tensor, distances_P4: Tensor) -> Tensor:
    """Return the boxes (P, 4) whose sides lie at the given distances from the points."""
    return torch.cat([points_P2 - distances_P4[:, :2], points_P2 + distances_P4[:, 2:]], dim=1)


def centreness(distances_P4: Tensor) -> Tensor:
    """Return sqrt(shorter / longer horizontal distance x the same vertically); 1 at the centre."""
    left, top, right, bottom = distances_P4.unbind(1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()
