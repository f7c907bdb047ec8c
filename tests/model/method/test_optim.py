"""Warm-up, parameter groups, clipping, and the optimisers behind them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from model.detector import Detector
from model.detectors.build import build_detector
from model.errors import ModelError
from model.method.optim import OptimizerName, build_optimizer, parameter_groups
from model.method.schedule import Schedule
from model.method.weight_update import clip_gradient


def small() -> Detector:
    return build_detector("fcos-compact", num_classes=2, seed=0)


def fill_gradients(detector: Detector, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in detector.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_the_schedule_scales_each_group_by_its_own_rate() -> None:
    optimizer = build_optimizer(small(), name="adamw", lr=1e-3, weight_decay=0.0, backbone_lr_multiplier=0.1)
    assert Schedule(warmup_steps=10, warmup_start=0.0).apply(optimizer, 5) == pytest.approx(5e-4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-5, 5e-4])


def test_groups_hold_every_learning_parameter_once_and_no_frozen_one(faster_rcnn: Detector) -> None:
    groups: list[Any] = parameter_groups(faster_rcnn, lr=0.01, backbone_lr_multiplier=0.1)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    learning = {id(parameter) for parameter in faster_rcnn.parameters() if parameter.requires_grad}
    assert len(held) == len(set(held))
    assert set(held) == learning
    backbone = {id(parameter) for parameter in faster_rcnn.parameter_groups()[0].parameters}
    assert all(id(parameter) in backbone for parameter in groups[0]["params"])


def test_sgd_steps_as_its_formula_says() -> None:
    detector = small()
    optimizer = build_optimizer(detector, name="sgd", lr=0.1, weight_decay=0.01, momentum=0.9)
    parameter = next(iter(detector.parameters()))
    weight, velocity = parameter.detach().double().clone(), torch.zeros_like(parameter, dtype=torch.float64)
    for step in range(3):
        fill_gradients(detector, step)
        assert parameter.grad is not None
        velocity = 0.9 * velocity + parameter.grad.double() + 0.01 * weight
        weight = weight - 0.1 * velocity
        optimizer.step()
    torch.testing.assert_close(parameter.detach().double(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_resumed_optimiser_equals_one_that_never_stopped_bit_for_bit(name: OptimizerName) -> None:
    detector = small()
    optimizer = build_optimizer(detector, name=name, lr=0.01, weight_decay=0.05)
    fill_gradients(detector, 0)
    optimizer.step()
    weights, state = copy.deepcopy(detector.state_dict()), copy.deepcopy(optimizer.state_dict())
    fill_gradients(detector, 1)
    optimizer.step()
    again = small()
    again.load_state_dict(weights)
    resumed = build_optimizer(again, name=name, lr=0.01, weight_decay=0.05)
    resumed.load_state_dict(state)
    fill_gradients(again, 1)
    resumed.step()
    pairs = zip(detector.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_clipping_bounds_the_joint_norm_and_returns_the_norm_before() -> None:
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    for parameter, value in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([value])
    assert clip_gradient(parameters, 10.0) == pytest.approx(5.0)
    assert [parameter.grad.item() for parameter in parameters if parameter.grad is not None] == [3.0, 4.0]
    assert clip_gradient(parameters, 1.0) == pytest.approx(5.0)
    clipped = torch.cat([parameter.grad for parameter in parameters if parameter.grad is not None])
    assert clipped.norm().item() == pytest.approx(1.0, rel=1e-5)


def test_rates_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ModelError, match="lr > 0"):
        build_optimizer(small(), name="sgd", lr=0.0, weight_decay=0.0)
