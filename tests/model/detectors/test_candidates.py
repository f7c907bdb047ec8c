"""Candidates are what the loss is made of: the classification part follows from them alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from model.detector import Candidates
from model.detectors.spec import DetectorName
from tests.model.conformance import NOTHING, NUM_CLASSES, batch_for, losses
from tests.model.small_detectors import build_small


def focal(found: list[Candidates]) -> list[Tensor]:
    """Return the focal loss of each image, summed over what is not ignored."""
    sums = []
    for of_image in found:
        counts_A = of_image.classes_A >= 0
        logits_AK = of_image.logits_AK[counts_A]
        wanted_AK = functional.one_hot(of_image.classes_A[counts_A], NUM_CLASSES + 1).float()
        wanted_AK[:, -1] = 0  # no logit of a sigmoid is to say background
        sums.append(sigmoid_focal_loss(logits_AK, wanted_AK[:, : logits_AK.shape[1]], reduction="sum"))
    return sums


def positives(found: list[Candidates]) -> list[int]:
    return [int(((one.classes_A >= 0) & (one.classes_A < NUM_CLASSES)).sum()) for one in found]


def class_loss(name: DetectorName, found: list[Candidates]) -> Tensor:
    match name:
        case "fasterrcnn-resnet50" | "fasterrcnn-v2-resnet50":
            logits = torch.cat([one.logits_AK for one in found])
            return functional.cross_entropy(logits, torch.cat([one.classes_A for one in found]))
        case "retinanet-resnet50":  # the mean over the images
            parts = zip(focal(found), positives(found), strict=True)
            return torch.stack([part / max(1, number) for part, number in parts]).mean()
        case _:
            return torch.stack(focal(found)).sum() / max(1, sum(positives(found)))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("fcos-compact", "loss_class"),
        ("fcos-resnet50", "classification"),
        ("retinanet-resnet50", "classification"),
        ("fasterrcnn-resnet50", "loss_classifier"),
        ("fasterrcnn-v2-resnet50", "loss_classifier"),
    ],
)
def test_the_classification_loss_follows_from_the_candidates(name: DetectorName, part: str) -> None:
    detector = build_small(name)
    batch = batch_for(detector, num_images=3)
    targets = [*batch.targets[:2], NOTHING]
    expected = losses(copy.deepcopy(detector), batch, targets)[part]
    torch.manual_seed(0)  # the samplers of proposals draw as for the loss
    found = detector.candidates(batch.images_BCHW, batch.sizes_B2, targets)
    assert sum(positives(found)) > 0
    torch.testing.assert_close(class_loss(name, found), expected, rtol=1e-5, atol=1e-6)
