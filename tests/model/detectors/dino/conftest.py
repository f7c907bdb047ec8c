"""A small DINO and the true boxes of two images, which the tests of its parts share."""

from __future__ import annotations

import pytest
import torch

from model.detector import Target
from model.detectors.dino.assignment import Truth, collect_truth

SIZES = ((64, 96), (50, 80))


def make_truth(*counts: int) -> Truth:
    """Return so many boxes of each image, none of which touches a side of it; classes 0, 1, 2 in turn."""
    targets = []
    for image, count in enumerate(counts):
        corners_N2 = torch.arange(count)[:, None] * torch.tensor([0.5, 0.25]) + 20 + image
        boxes_N4 = torch.cat([corners_N2, corners_N2 + torch.tensor([12.0, 9.0])], dim=1)
        targets.append(Target(boxes_N4=boxes_N4, categories_N=torch.arange(count) % 3))
    return collect_truth(targets, SIZES[: len(counts)], torch.device("cpu"))


@pytest.fixture
def truth() -> Truth:
    return make_truth(3, 1)
