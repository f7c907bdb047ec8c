"""The detectors of torchvision are torchvision's: plain state dicts, the same predictions and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchvision.models.detection import (
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fcos_resnet50_fpn,
    retinanet_resnet50_fpn,
)

from model.detector import Detector
from model.detectors.build import build_detector
from model.detectors.spec import DetectorName
from model.detectors.torchvision.adapter import as_detections, as_torchvision

MIN_SCORE = 0.004
PLAIN: dict[DetectorName, tuple[Callable[..., Any], str]] = {
    "fasterrcnn-resnet50": (fasterrcnn_resnet50_fpn, "box_"),
    "fasterrcnn-v2-resnet50": (fasterrcnn_resnet50_fpn_v2, "box_"),
    "fcos-resnet50": (fcos_resnet50_fpn, ""),
    "retinanet-resnet50": (retinanet_resnet50_fpn, ""),
}


@pytest.fixture(scope="module", params=PLAIN)
def pair(request: pytest.FixtureRequest) -> tuple[Detector, Any]:
    """A detector, and the library's own model with its weights and for images that are normalised already."""
    detector = build_detector(request.param, num_classes=3, seed=0, min_score=MIN_SCORE)
    build, prefix = PLAIN[request.param]
    plain = build(
        weights=None,
        weights_backbone=None,
        num_classes=4,
        min_size=64,
        max_size=64,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        **{f"{prefix}score_thresh": MIN_SCORE, f"{prefix}detections_per_img": 100},
    )
    plain.load_state_dict(detector.network.state_dict(), strict=True)
    return detector, plain


def test_predictions_are_the_librarys_own(pair: tuple[Detector, Any], drawn: Any) -> None:
    detector, plain = pair
    found = detector.predict(drawn.images_BCHW.contiguous(), [(64, 64)] * 2)  # the layout that it gets there
    with torch.no_grad():
        expected = plain.eval()(list(drawn.images_BCHW))
    for ours, theirs in zip(found, map(as_detections, expected), strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.boxes_N4, theirs.boxes_N4, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(ours.scores_N, theirs.scores_N, atol=1e-4, rtol=1e-4)
        assert torch.equal(ours.categories_N, theirs.categories_N)


def test_losses_are_the_librarys_own(pair: tuple[Detector, Any], drawn: Any) -> None:
    detector, _ = pair
    network = copy.deepcopy(detector.network).train()
    network.transform.min_size, network.transform.max_size = (64,), 64
    network.transform.image_mean, network.transform.image_std = [0.0] * 3, [1.0] * 3
    torch.manual_seed(0)
    theirs = network(list(drawn.images_BCHW), [as_torchvision(target) for target in drawn.targets])
    torch.manual_seed(0)
    torch.empty(2).uniform_()  # its transform draws a size for each image
    ours = detector.train().losses(drawn.images_BCHW, [(64, 64)] * 2, drawn.targets)
    assert ours.keys() == theirs.keys()
    for part, value in ours.items():
        torch.testing.assert_close(value, theirs[part], atol=1e-5, rtol=1e-4)
