"""Activations of the backbone that are computed again: the same losses, gradients and statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from model.checkpoint_activations import backbone_stages, checkpoint_activations
from model.detector import Detector, Target
from model.detectors.build import build_detector
from model.detectors.spec import DetectorName, Norm
from model.errors import ModelError


def learn(detector: Detector, drawn: Any) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Return losses and gradients of the drawn images."""
    torch.manual_seed(0)  # for samplers of proposals
    targets = [Target(boxes_N4=t.boxes_N4, categories_N=t.categories_N % 2) for t in drawn.targets]
    losses = detector.losses(drawn.images_BCHW, drawn.sizes_B2, targets)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in detector.parameters() if p.grad is not None]
    return {name: value.detach() for name, value in losses.items()}, gradients


@pytest.mark.parametrize(
    ("name", "norm"),
    [("fcos-compact", None), ("fasterrcnn-resnet50", "frozen"), ("retinanet-resnet50", "live")],
)
def test_losses_gradients_and_statistics_are_the_same_to_the_bit(
    name: DetectorName, norm: Norm | None, drawn: Any
) -> None:
    backbone = None if name == "fcos-compact" else "resnet18"
    plain = build_detector(name, num_classes=2, backbone=backbone, norm=norm, size="compact", seed=0)
    ours = copy.deepcopy(plain)
    runs: dict[str, int] = {}
    for stage_name, stage in backbone_stages(ours):
        first = next(stage.children())
        first.register_forward_pre_hook(lambda *_, n=stage_name: runs.__setitem__(n, runs.get(n, 0) + 1))
    stages = checkpoint_activations(ours)
    names = list(ours.state_dict())
    losses, gradients = learn(plain, drawn)
    again_losses, again_gradients = learn(ours, drawn)
    assert runs == dict.fromkeys(stages, 2)  # once more in the backward pass
    assert names == list(plain.state_dict())
    assert losses.keys() == again_losses.keys()
    assert all(torch.equal(losses[part], again_losses[part]) for part in losses)
    assert all(map(torch.equal, gradients, again_gradients))
    assert all(map(torch.equal, plain.buffers(), ours.buffers()))
    norms = [module for module in ours.modules() if isinstance(module, _BatchNorm)]
    assert bool(norms) == (norm == "live")
    assert all(norm.momentum == 0.1 and norm.num_batches_tracked == 1 for norm in norms)


def test_a_backbone_without_stages_is_refused() -> None:
    class Flat(Detector):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        losses = detect = candidates = None  # type: ignore[assignment]

        def parameter_groups(self) -> Any:
            return []

    with pytest.raises(ModelError, match=r"expected a backbone of stages .* got none in Flat"):
        checkpoint_activations(Flat())
