"""A graph that does not do what its detector does is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.detector import Detections, Detector
from model.detectors.build import build_detector
from model.errors import ModelError
from model.weights.onnx_check import require_same_boxes, share_found
from model.weights.onnx_export import write_onnx

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def perturbed(seed: int) -> Detector:
    detector = build_detector("fcos-compact", num_classes=3, seed=0, min_score=0.005).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
    return detector


def test_a_graph_is_held_against_its_detector(tmp_path: Path) -> None:
    written, other = perturbed(1), perturbed(2)
    path = tmp_path / "w.onnx"
    write_onnx(path, written, mean=MEAN, std=STD, pad_multiple=32, metadata={})
    require_same_boxes(path, written, mean=MEAN, std=STD, pad_multiple=32)
    with pytest.raises(
        ModelError, match=r"CompactFCOS cannot be exported .* 320 x 192 px .* boxes in common"
    ):
        require_same_boxes(path, other, mean=MEAN, std=STD, pad_multiple=32)


def test_boxes_are_the_same_with_the_same_place_class_and_score() -> None:
    def found(left: float, score: float, category: int) -> Detections:
        return Detections(
            boxes_N4=torch.tensor([[left, 0.0, 9.0, 9.0], [20.0, 20.0, 40.0, 40.0]]),
            scores_N=torch.tensor([score, 0.2]),
            categories_N=torch.tensor([category, 0]),
        )

    one = found(1, 0.5, 1)
    shares = [
        share_found(one, other) for other in (one, found(1.2, 0.5, 1), found(1, 0.6, 1), found(1, 0.5, 2))
    ]
    assert shares == [1.0, 0.5, 0.5, 0.5]
