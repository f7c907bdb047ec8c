"""The detectors of torchvision by name: what is known of each, and how it is built with weights in it.

The score thresholds are MixPL's (arXiv 2312.07006): Faster R-CNN 0.7, RetinaNet 0.4, FCOS 0.3 for scores class x
centreness, which is 0.55 for their square root.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
    FCOS_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)

from model.detector import InputSpec
from model.detectors.spec import DetectorSpec, Norm, Size, TorchvisionName
from model.detectors.timm_backbone import LITE0_PACKAGE, PREFIX, timm_input
from model.detectors.torchvision.adapter import TorchvisionDetector
from model.detectors.torchvision.faster_rcnn import FasterRCNNDetector
from model.detectors.torchvision.one_stage import FCOSDetector, RetinaNetDetector
from model.detectors.torchvision.weights import PublishedWeights, load_pretrained


def torchvision_spec(name: TorchvisionName) -> DetectorSpec:
    """Return what is known of a detector of torchvision."""
    match name:
        case "fasterrcnn-resnet50":
            published = PublishedWeights(
                coco=FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
                predictor="roi_heads.box_predictor.",
                zero_eps=True,
            )
            return _spec(FasterRCNNDetector, published, score_threshold=0.7)
        case "fasterrcnn-v2-resnet50":
            published = PublishedWeights(
                coco=FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1, predictor="roi_heads.box_predictor."
            )
            build = partial(FasterRCNNDetector, version=2)
            return _spec(build, published, score_threshold=0.7, norm="live")
        case "fcos-resnet50":
            published = PublishedWeights(
                coco=FCOS_ResNet50_FPN_Weights.COCO_V1, predictor="head.classification_head.cls_logits."
            )
            return _spec(FCOSDetector, published, score_threshold=0.55)
        case "retinanet-resnet50":
            published = PublishedWeights(
                coco=RetinaNet_ResNet50_FPN_Weights.COCO_V1,
                predictor="head.classification_head.cls_logits.",
                zero_eps=True,
            )
            return _spec(RetinaNetDetector, published, score_threshold=0.4)


def _spec(
    kind: Callable[..., TorchvisionDetector],
    published: PublishedWeights,
    *,
    score_threshold: float,
    norm: Norm = "frozen",
) -> DetectorSpec:
    return DetectorSpec(
        build=partial(_build, kind, published),
        score_threshold=score_threshold,
        input=_input,
        weights=("none", "imagenet", "coco", LITE0_PACKAGE),
        backbone="resnet50",
        norm=norm,
    )


def _input(backbone: str | None, weights: str) -> InputSpec:
    if backbone is not None and backbone.startswith(PREFIX):
        return timm_input(backbone, weights)
    return InputSpec()


def _build(
    kind: Callable[..., TorchvisionDetector],
    published: PublishedWeights,
    *,
    num_classes: int,
    weights: str,
    backbone: str,
    norm: Norm,
    size: Size,
    min_score: float,
) -> TorchvisionDetector:
    detector = kind(num_classes=num_classes, backbone=backbone, norm=norm, size=size, min_score=min_score)
    if weights != "none":
        load_pretrained(detector.network, weights, backbone=backbone, published=published)
    return detector
