"""A tiny drawn data set and the detectors that the model tests share."""

from __future__ import annotations

import pytest

from model.detector import Detector
from model.detectors.build import build_detector
from tests.model.drawn_batch import DrawnBatch, draw_batch


@pytest.fixture(scope="session")
def drawn() -> DrawnBatch:
    return draw_batch(num_images=2, side=64, seed=0)


@pytest.fixture(scope="session")
def overfit_set() -> DrawnBatch:
    return draw_batch(num_images=8, side=64, seed=1)


@pytest.fixture(scope="session")
def faster_rcnn() -> Detector:
    return build_detector("fasterrcnn-resnet50", num_classes=3, seed=0)


@pytest.fixture(scope="session")
def fcos() -> Detector:
    return build_detector("fcos-compact", num_classes=3, seed=0)
