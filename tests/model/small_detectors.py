"""Detectors by name, as small as they come: what the tests of all detectors build."""

from __future__ import annotations

from model.detector import Detector
from model.detectors.build import build_detector, spec_of
from model.detectors.spec import DetectorName
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
