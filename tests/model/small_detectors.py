"""Detectors by name, as small as they come: what the tests of all detectors build."""

from __future__ import annotations

from model.detector import Detector
from model.detectors.build import build_detector, spec_of
from model.detectors.huggingface.adapter import HuggingFaceDetector
from model.detectors.spec import DetectorName
from model.detectors.timm_backbone import LITE0, LITE0_PACKAGE
from model.detectors.torchvision.faster_rcnn import FasterRCNNDetector

MIN_SCORE = 0.004
"""Low: the detectors are untrained."""


def build_small(name: DetectorName) -> Detector:
    """Return a detector in train mode, with a ResNet-18 and few proposals where it has such."""
    spec = spec_of(name)
    detector = build_detector(
        name,
        num_classes=3,
        backbone="resnet18" if spec.backbone == "resnet50" else None,
        size="compact",
        seed=0,
        min_score=MIN_SCORE,
    )
    if isinstance(detector, FasterRCNNDetector):
        detector.network.rpn._post_nms_top_n = {"training": 20, "testing": 20}
    return detector.train()


def build_learner(name: DetectorName) -> Detector:
    """Return a small detector that learns within seconds: on the pretrained backbone that is a package, if it can.

    Faster R-CNN has 50 proposals, version 2, whose box head costs most, 20. RT-DETRv2 has 30 queries, with which it
    reaches more than with 50.
    """
    if LITE0_PACKAGE not in spec_of(name).weights:
        return build_small(name)
    detector = build_detector(
        name,
        num_classes=3,
        backbone=LITE0,
        weights=LITE0_PACKAGE,
        size="compact",
        seed=0,
        min_score=MIN_SCORE,
    )
    if isinstance(detector, FasterRCNNDetector):
        num_proposals = 20 if name == "fasterrcnn-v2-resnet50" else 50
        detector.network.rpn._post_nms_top_n = {"training": num_proposals, "testing": num_proposals}
    if name == "rtdetr-v2" and isinstance(detector, HuggingFaceDetector):
        detector.network.config.num_queries = 30
    return detector.train()
