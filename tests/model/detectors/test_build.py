"""Names to detectors."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from model.detectors.build import build_detector, spec_of
from model.detectors.spec import DetectorName
from model.errors import ModelError, WeightsError


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = (build_detector("fcos-compact", num_classes=3, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    pairs = list(zip(first.parameters(), other.parameters(), strict=True))
    assert not all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_without_a_seed_the_callers_seed_fixes_the_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_detector("fcos-compact", num_classes=3).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_cannot_be_built_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"fcos-compact, fasterrcnn-resnet50, .*, got 'yolo'"):
        build_detector("yolo", num_classes=3)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="num_classes 0"):
        build_detector("fcos-compact", num_classes=0)
    with pytest.raises(ModelError, match=r"--model\.weights none"):
        build_detector("fcos-compact", num_classes=3, weights="coco")
    with pytest.raises(ModelError, match=r"--model\.backbone out"):
        build_detector("fcos-compact", num_classes=3, backbone="resnet18")
    for backbone in ("resnet19", "vgg16", "deeplabv3_resnet50"):
        with pytest.raises(ModelError, match=f"ResNet of torchvision .*got '{backbone}'"):
            build_detector("fcos-resnet50", num_classes=3, backbone=backbone)
    with pytest.raises(WeightsError, match=r"for resnet50, got --model\.backbone resnet18"):
        build_detector("retinanet-resnet50", num_classes=3, backbone="resnet18", weights="coco")


def test_every_detector_has_its_own_default_threshold() -> None:
    thresholds = {name: spec_of(name).score_threshold for name in get_args(DetectorName)}
    assert thresholds == {
        "fcos-compact": 0.5,
        "fasterrcnn-resnet50": 0.7,
        "fasterrcnn-v2-resnet50": 0.7,
        "fcos-resnet50": 0.55,
        "retinanet-resnet50": 0.4,
        "dino-resnet50": 0.4,
        "rtdetr": 0.4,
        "rtdetr-v2": 0.4,
        "dfine": 0.4,
        "deimv2": 0.4,
        "deformable-detr": 0.4,
        "detr": 0.7,
        "conditional-detr": 0.4,
        "dab-detr": 0.4,
        "rf-detr": 0.4,
        "lw-detr": 0.4,
    }
