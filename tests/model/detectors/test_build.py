"""Names to detectors."""

from __future__ import annotations

import pytest
import torch

from model.detectors.build import build_detector, default_score_threshold
from model.errors import ModelError


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
    with pytest.raises(ModelError, match="fcos-compact, fasterrcnn-resnet50, got 'yolo'"):
        build_detector("yolo", num_classes=3)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="num_classes 0"):
        build_detector("fcos-compact", num_classes=0)
    with pytest.raises(ModelError, match=r"--model\.weights none"):
        build_detector("fcos-compact", num_classes=3, weights="coco")


def test_every_detector_has_its_own_default_threshold() -> None:
    assert default_score_threshold("fasterrcnn-resnet50") == 0.7
    assert default_score_threshold("fcos-compact") == 0.5
