"""Names to detectors.

In: the name of a detector and the number of classes. Out: the detector, on the CPU, in train mode.
"""

from __future__ import annotations

from typing import Literal, assert_never

import torch

from model.detector import Detector
from model.detectors.compact_fcos.detector import CompactFCOS
from model.detectors.torchvision.faster_rcnn import FasterRCNNResNet50
from model.errors import ModelError

DetectorName = Literal["fcos-compact", "fasterrcnn-resnet50"]


def build_detector(
    name: DetectorName,
    *,
    num_classes: int,
    weights: str = "none",
    seed: int | None = None,
    min_score: float = 0.05,
) -> Detector:
    """Return a new detector.

    `weights`: none, imagenet, coco or the path of a torchvision state dict; fcos-compact knows only none.
    `seed`: draw the weights from this seed and leave torch's global generator as it was; None draws from the
    global generator. Raises ModelError for an unknown name, and its child WeightsError for weights that cannot
    be had.
    """
    if num_classes < 1:
        raise ModelError(f"expected at least one class, got num_classes {num_classes}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        return _build(name, num_classes=num_classes, weights=weights, min_score=min_score)


def default_score_threshold(name: DetectorName) -> float:
    """Return the pseudo-label threshold of a detector.

    Faster R-CNN: 0.7, as published. FCOS: published as 0.3 for scores class x centreness; ours are the square
    root of that product, where 0.5 is what worked on drawn data and 0.3 let two false boxes in for every true
    one.
    """
    match name:
        case "fcos-compact":
            return 0.5
        case "fasterrcnn-resnet50":
            return 0.7
        case _:
            assert_never(name)


def _build(name: DetectorName, *, num_classes: int, weights: str, min_score: float) -> Detector:
    match name:
        case "fcos-compact":
            if weights != "none":
                raise ModelError(
                    f"fcos-compact trains from scratch, got weights {weights!r}: pass --model.weights none"
                )
            return CompactFCOS(num_classes=num_classes, min_score=min_score)
        case "fasterrcnn-resnet50":
            return FasterRCNNResNet50(num_classes=num_classes, weights=weights, min_score=min_score)
        case _:
            known = "fcos-compact, fasterrcnn-resnet50"
            raise ModelError(f"expected a detector of {known}, got {name!r}")
