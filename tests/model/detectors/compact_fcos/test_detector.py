"""The compact FCOS: its geometry, its losses, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from model.detector import Detections, Detector, Target
from model.detectors.build import build_detector
from model.detectors.compact_fcos.detector import (
    CompactFCOS,
    boxes_at,
    centreness,
    distances_to,
    positive_losses,
)
from model.method.optim import build_optimizer
from model.method.weight_update import clip_gradient

coordinate = st.floats(0, 100, width=32)


def recall(predictions: list[Detections], targets: list[Target], *, score: float) -> float:
    """Share of targets with a confident detection of their class at IoU 0.5."""
    found = total = 0
    for detections, target in zip(predictions, targets, strict=True):
        sure = detections.scores_N > score
        iou_TN = box_iou(target.boxes_N4, detections.boxes_N4[sure])
        same_TN = target.categories_N[:, None] == detections.categories_N[sure][None]
        found += int(((iou_TN > 0.5) & same_TN).any(dim=1).sum())
        total += len(target.boxes_N4)
    return found / total


def overfit(drawn: Any, steps: int) -> tuple[Detector, list[float]]:
    detector = build_detector("fcos-compact", num_classes=3, seed=0)
    optimizer = build_optimizer(detector, name="adamw", lr=3e-3, weight_decay=0.05)
    totals = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        parts = detector(drawn.images_BCHW, drawn.sizes_B2, drawn.targets)
        total = torch.stack(list(parts.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        clip_gradient(detector.parameters(), 10.0)
        optimizer.step()
        totals.append(total.item())
    return detector, totals


def test_a_hundred_steps_on_eight_images_find_their_rectangles(overfit_set: Any) -> None:
    before = build_detector("fcos-compact", num_classes=3, seed=0)
    images, sizes, targets = overfit_set.images_BCHW, overfit_set.sizes_B2, overfit_set.targets
    assert recall(before.predict(images, sizes), targets, score=0.3) < 0.1
    detector, totals = overfit(overfit_set, steps=100)
    predictions = detector.predict(images, sizes)
    assert totals[-1] < totals[0] / 2
    assert recall(predictions, targets, score=0.3) > 0.9
    above_threshold = sum(int((found.scores_N > 0.5).sum()) for found in predictions)
    assert above_threshold < 1.5 * sum(len(target.boxes_N4) for target in targets)


def test_training_twice_from_one_seed_gives_the_same_weights_bit_for_bit(overfit_set: Any) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (overfit(overfit_set, steps=3)[0].state_dict() for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_network_has_about_265_thousand_parameters_at_ten_classes() -> None:
    detector = build_detector("fcos-compact", num_classes=10)
    assert sum(parameter.numel() for parameter in detector.parameters()) == pytest.approx(265_000, rel=0.05)


def test_the_memory_format_of_the_images_does_not_matter(fcos: Detector, drawn: Any) -> None:
    fcos.train()
    rows = drawn.images_BCHW.contiguous(memory_format=torch.contiguous_format)
    channels_last = fcos.losses(drawn.images_BCHW, drawn.sizes_B2, drawn.targets)
    plain = fcos.losses(rows, drawn.sizes_B2, drawn.targets)
    for name, part in plain.items():
        assert channels_last[name].item() == pytest.approx(part.item(), rel=1e-4)


@given(
    x=coordinate,
    y=coordinate,
    sides=st.tuples(*[st.floats(0.5, 50, width=32) for _ in range(4)]),
)
def test_distances_and_boxes_are_each_others_inverse(
    x: float, y: float, sides: tuple[float, float, float, float]
) -> None:
    point, distances = torch.tensor([[x, y]]), torch.tensor([sides])
    torch.testing.assert_close(
        distances_to(point, boxes_at(point, distances)), distances, atol=1e-4, rtol=1e-5
    )


@given(sides=st.tuples(*[st.floats(0.5, 50, width=32) for _ in range(4)]))
def test_centreness_is_one_at_the_centre_and_less_elsewhere(
    sides: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = sides
    assert centreness(torch.tensor([[left, top, left, top]])).item() == pytest.approx(1.0)
    expected = (min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)) ** 0.5
    value = centreness(torch.tensor([sides])).item()
    assert value == pytest.approx(expected, rel=1e-4)
    assert 0 < value <= 1


def test_a_perfect_box_costs_nothing_and_no_positive_location_gives_zero_gradients() -> None:
    points, boxes = torch.tensor([[10.0, 10.0]]), torch.tensor([[4.0, 2.0, 20.0, 18.0]])
    box_loss, centreness_loss = positive_losses(
        points_P2=points,
        boxes_P4=boxes,
        distances_P4=distances_to(points, boxes),
        centreness_logits_P=torch.zeros(1),
    )
    assert box_loss.item() == pytest.approx(0.0, abs=1e-6)
    assert centreness_loss.item() == pytest.approx(0.6931, abs=1e-3)
    distances, logits = torch.ones(3, 4, requires_grad=True), torch.ones(3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    parts = positive_losses(
        points_P2=points[none],
        boxes_P4=boxes[none],
        distances_P4=distances[none],
        centreness_logits_P=logits[none],
    )
    torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
    assert [part.item() for part in parts] == [0.0, 0.0]
    assert distances.grad is not None
    assert torch.count_nonzero(distances.grad) == 0


def test_the_score_is_the_root_of_class_times_centreness(drawn: Any) -> None:
    detector = build_detector("fcos-compact", num_classes=3, seed=0)
    assert isinstance(detector, CompactFCOS)
    with torch.no_grad():
        assert detector.network.predictor.bias is not None
        detector.network.predictor.weight.zero_()
        detector.network.predictor.bias.copy_(torch.tensor([0.0, -9.0, -9.0, 0.5, 0.5, 0.5, 0.5, -1.0]))
    found = detector.predict(drawn.images_BCHW, drawn.sizes_B2)[0]
    expected = (torch.tensor(0.0).sigmoid() * torch.tensor(-1.0).sigmoid()).sqrt()
    torch.testing.assert_close(found.scores_N, expected.expand(len(found)))
    assert set(found.categories_N.tolist()) == {0}


def test_nothing_below_the_minimum_score_or_above_the_maximum_number_is_predicted(drawn: Any) -> None:
    torch.manual_seed(0)
    assert len(CompactFCOS(num_classes=3, min_score=0.99).predict(drawn.images_BCHW, drawn.sizes_B2)[0]) == 0
    assert (
        len(CompactFCOS(num_classes=3, max_detections=7).predict(drawn.images_BCHW, drawn.sizes_B2)[0]) == 7
    )
