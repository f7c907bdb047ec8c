"""A tiny drawn data set and the detectors that the model tests share."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from model.detector import Detector, Target
from model.detectors.build import build_detector, spec_of
from model.detectors.spec import DetectorName, Size
from model.detectors.torchvision.faster_rcnn import FasterRCNNDetector

MIN_SCORE = 0.004
COLOURS = ((2.0, -1.0, -1.0), (-1.0, 2.0, -1.0), (-1.0, -1.0, 2.0))


@dataclass(frozen=True, kw_only=True)
class DrawnBatch:
    images_BCHW: Tensor
    sizes_B2: list[tuple[int, int]]
    targets: list[Target]


def draw_batch(*, num_images: int, side: int, seed: int, boxes_an_image: int = 3) -> DrawnBatch:
    """Flat rectangles on grey noise; the colour is the class. The last image has a narrower valid area."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(0, 0.3, (num_images, 3, side, side)).astype(np.float32))
    sizes, targets = [], []
    for index in range(num_images):
        height = width = side if index < num_images - 1 else side - 8
        images[index, :, height:] = 0
        images[index, :, :, width:] = 0
        boxes, categories = [], []
        for column in range(boxes_an_image):
            left = column * width // boxes_an_image + int(rng.integers(1, 4))
            top = int(rng.integers(1, height // 2))
            right, bottom = left + int(rng.integers(10, 15)), top + int(rng.integers(10, 24))
            category = int(rng.integers(len(COLOURS)))
            images[index, :, top:bottom, left:right] = torch.tensor(COLOURS[category]).view(3, 1, 1)
            boxes.append([left, top, right, bottom])
            categories.append(category)
        sizes.append((height, width))
        targets.append(
            Target(boxes_N4=torch.tensor(boxes, dtype=torch.float32), categories_N=torch.tensor(categories))
        )
    return DrawnBatch(
        images_BCHW=images.contiguous(memory_format=torch.channels_last), sizes_B2=sizes, targets=targets
    )


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


@functools.cache
def small_detector(name: DetectorName) -> Detector:
    """A detector with a ResNet-18 and few proposals where it has such; its least score is low: it is untrained."""
    backbone = None if spec_of(name).backbone is None else "resnet18"
    size: Size = "compact" if name == "dino-resnet50" else "standard"
    built = build_detector(name, num_classes=3, backbone=backbone, size=size, seed=0, min_score=MIN_SCORE)
    if isinstance(built, FasterRCNNDetector):
        built.network.rpn._post_nms_top_n = {"training": 20, "testing": 20}
    return built


@pytest.fixture(params=get_args(DetectorName))
def detector(request: pytest.FixtureRequest) -> Detector:
    """Each detector, in train mode and without gradients, as it was built."""
    found = copy.deepcopy(small_detector(request.param))
    return found.train()
