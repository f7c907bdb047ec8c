"""Names to detectors.

In: the name of a detector and the number of classes. Out: `DetectorSpec`, what is known of it before it is built;
the detector itself, on the CPU, in train mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
    FCOS_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)

from model.detector import Detector
from model.detectors.compact_fcos.detector import CompactFCOS
from model.detectors.torchvision.faster_rcnn import FasterRCNNDetector
from model.detectors.torchvision.one_stage import FCOSDetector, RetinaNetDetector
from model.detectors.torchvision.weights import PublishedWeights, load_pretrained
from model.errors import ModelError

DetectorName = Literal[
    "fcos-compact", "fasterrcnn-resnet50", "fasterrcnn-v2-resnet50", "fcos-resnet50", "retinanet-resnet50"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorSpec:
    """What is known of a detector before it is built."""

    build: Callable[..., Detector]
    """Takes num_classes and min_score, and backbone where the detector has `published`."""
    score_threshold: float
    """The score above which its pseudo labels count, unless a run says otherwise."""
    published: PublishedWeights | None = None
    """Weights that torchvision has of it; None for a detector that is trained from scratch alone."""


def spec_of(name: DetectorName) -> DetectorSpec:
    """Return what is known of a detector. Raises ModelError for an unknown name.

    The score thresholds are MixPL's (arXiv 2312.07006): Faster R-CNN 0.7, RetinaNet 0.4, FCOS 0.3 for scores
    class x centreness, which is 0.55 for their square root. That of the compact FCOS is what worked on drawn data.
    """
    match name:
        case "fcos-compact":
            return DetectorSpec(build=CompactFCOS, score_threshold=0.5)
        case "fasterrcnn-resnet50":
            return DetectorSpec(
                build=FasterRCNNDetector,
                score_threshold=0.7,
                published=PublishedWeights(
                    coco=FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
                    predictor="roi_heads.box_predictor.",
                    zero_eps=True,
                ),
            )
        case "fasterrcnn-v2-resnet50":
            return DetectorSpec(
                build=partial(FasterRCNNDetector, version=2),
                score_threshold=0.7,
                published=PublishedWeights(
                    coco=FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1, predictor="roi_heads.box_predictor."
                ),
            )
        case "fcos-resnet50":
            return DetectorSpec(
                build=FCOSDetector,
                score_threshold=0.55,
                published=PublishedWeights(
                    coco=FCOS_ResNet50_FPN_Weights.COCO_V1, predictor="head.classification_head.cls_logits."
                ),
            )
        case "retinanet-resnet50":
            return DetectorSpec(
                build=RetinaNetDetector,
                score_threshold=0.4,
                published=PublishedWeights(
                    coco=RetinaNet_ResNet50_FPN_Weights.COCO_V1,
                    predictor="head.classification_head.cls_logits.",
                    zero_eps=True,
                ),
            )
        case _:
            raise ModelError(f"expected a detector of {', '.join(get_args(DetectorName))}, got {name!r}")


def build_detector(
    name: DetectorName,
    *,
    num_classes: int,
    weights: str = "none",
    backbone: str | None = None,
    seed: int | None = None,
    min_score: float = 0.05,
) -> Detector:
    """Return a new detector.

    `weights`: none, imagenet, coco or the path of a torchvision state dict; fcos-compact knows only none.
    `backbone`: a ResNet of torchvision in place of the ResNet-50 that the name speaks of.
    `seed`: draw the weights from this seed and leave torch's global generator as it was; None draws from the
    global generator. Raises ModelError for an unknown name, and its child WeightsError for weights that cannot
    be had.
    """
    if num_classes < 1:
        raise ModelError(f"expected at least one class, got num_classes {num_classes}")
    spec = spec_of(name)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        if spec.published is None:
            _require_own_network(name, weights, backbone)
            return spec.build(num_classes=num_classes, min_score=min_score)
        backbone = backbone or "resnet50"
        detector = spec.build(num_classes=num_classes, min_score=min_score, backbone=backbone)
        if weights != "none":
            load_pretrained(detector.network, weights, backbone=backbone, published=spec.published)
        return detector


def _require_own_network(name: DetectorName, weights: str, backbone: str | None) -> None:
    """Raise ModelError for a backbone or weights of a detector that has a network of its own."""
    if weights != "none":
        raise ModelError(f"{name} trains from scratch, got weights {weights!r}: pass --model.weights none")
    if backbone is not None:
        raise ModelError(f"{name} has a backbone of its own, got {backbone!r}: leave --model.backbone out")
