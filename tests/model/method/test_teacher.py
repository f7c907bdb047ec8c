"""The teacher follows the formula in parameters and buffers, and resumes exactly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from model.detector import Detector, Target
from model.detectors.compact_fcos.detector import CompactFCOS
from model.errors import ModelError
from model.method.teacher import Teacher


class WithLiveNorm(CompactFCOS):
    """A detector whose images go through a batch-norm that learns, as those of a DETR or of timm do."""

    def __init__(self) -> None:
        super().__init__(num_classes=2)
        backbone: Any = self.network.backbone
        backbone.stem = nn.Sequential(nn.BatchNorm2d(3), backbone.stem)


def student() -> WithLiveNorm:
    torch.manual_seed(0)
    return WithLiveNorm()


def see(detector: Detector, drawn: Any) -> None:
    """Take the statistics of a batch, as a step of training does."""
    detector.losses(3 * drawn.images_BCHW + 5, drawn.sizes_B2, [target(one) for one in drawn.targets])


def target(drawn: Target) -> Target:
    return Target(boxes_N4=drawn.boxes_N4, categories_N=drawn.categories_N % 2)


def buffers_of(detector: Detector) -> dict[str, Tensor]:
    return {name.rsplit("stem.0.")[-1]: buffer.clone() for name, buffer in detector.named_buffers()}


def walk(detector: Detector, seed: int) -> None:
    """Change the parameters as an optimiser step would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def test_parameters_equal_the_formula_in_float64() -> None:
    learner = student()
    teacher = Teacher(learner, interval=3)
    expected = [parameter.detach().double().clone() for parameter in learner.parameters()]
    for iteration in range(12):
        walk(learner, iteration)
        due = teacher.update(learner, iteration)
        assert due is (iteration in (2, 5, 8, 11))
        if due:
            m = max(0.0002, 4 / (4 + iteration))
            pairs = zip(expected, learner.parameters(), strict=True)
            expected = [(1 - m) * old + m * new.detach().double() for old, new in pairs]
    for found, wanted in zip(teacher.detector.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-7)


@given(iteration=st.integers(0, 200_000))
def test_the_students_share_falls_from_one_to_the_floor(iteration: int) -> None:
    teacher = Teacher.__new__(Teacher)
    teacher.momentum_floor, teacher.warmup_gamma, teacher.batch_scale = 0.0002, 4.0, 1.0
    share = teacher.momentum(iteration)
    assert share == max(0.0002, 4 / (4 + iteration))
    assert share >= teacher.momentum(iteration + 1) >= 0.0002
    assert teacher.momentum(0) == 1.0


def test_at_k_times_the_batch_the_teacher_keeps_what_k_steps_would_have_kept() -> None:
    published, quarter = Teacher(student()), Teacher(student(), batch_scale=1 / 4)
    double = Teacher(student(), batch_scale=2.0)
    late = 100_000
    assert published.momentum(late) == 0.0002
    assert 1 - double.momentum(late) == pytest.approx((1 - 0.0002) ** 2)
    assert (1 - quarter.momentum(4 * late)) ** 4 == pytest.approx(1 - 0.0002)
    assert 1 - double.momentum(50) == pytest.approx((1 - published.momentum(100)) ** 2)
    assert quarter.momentum(0) == 1.0


def test_the_first_update_at_iteration_zero_copies_the_student() -> None:
    learner = student()
    teacher = Teacher(learner, interval=1)
    walk(learner, 0)
    teacher.update(learner, 0)
    pairs = zip(teacher.detector.parameters(), learner.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_parameters_that_do_not_change_stay_equal_to_the_bit() -> None:
    learner = student()
    teacher = Teacher(learner, interval=1)
    for iteration in range(50):
        teacher.update(learner, iteration)
    pairs = zip(teacher.detector.parameters(), learner.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_statistics_follow_by_the_formula_and_counters_are_copied(drawn: Any) -> None:
    learner = student()
    teacher = Teacher(learner, interval=1)
    expected = {name: buffer.double() for name, buffer in buffers_of(teacher.detector).items()}
    for iteration in (5, 6, 7):
        see(learner, drawn)
        teacher.update(learner, iteration)
        m = 4 / (4 + iteration)
        for name, new in buffers_of(learner).items():
            expected[name] = (1 - m) * expected[name] + m * new.double() if "running" in name else new
    assert set(expected) == {"running_mean", "running_var", "num_batches_tracked"}
    for name, found in buffers_of(teacher.detector).items():
        torch.testing.assert_close(found.double(), expected[name].double(), rtol=1e-6, atol=1e-7)
    assert buffers_of(teacher.detector)["num_batches_tracked"] == 3


def test_what_the_teacher_predicts_follows_the_student_through_a_live_batch_norm(drawn: Any) -> None:
    learner = student()
    teacher = Teacher(learner, interval=1)
    see(learner, drawn)

    def logits(detector: Detector) -> Tensor:
        assert isinstance(detector, WithLiveNorm)
        with torch.no_grad():
            logits_BLK: Tensor = detector.eval().network(drawn.images_BCHW).class_logits_BLK
        return logits_BLK

    def distance() -> float:
        return float((logits(teacher.detector) - logits(learner)).abs().max())

    first = distance()
    assert first > 1e-3, "new statistics change what the student predicts"
    for iteration in range(1, 20):
        teacher.update(learner, iteration)
    assert distance() < 1e-3 * first
    teacher.update(learner, 0)
    assert distance() == 0


def test_frozen_norms_stay_equal_to_the_bit_while_the_rest_moves(faster_rcnn: Detector) -> None:
    learner = copy.deepcopy(faster_rcnn)
    for number, buffer in enumerate(learner.buffers()):
        buffer.add_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(number)))
    start = buffers_of(learner)
    teacher = Teacher(learner, interval=1)
    for iteration in (0, 3, 1000):
        walk(learner, iteration)
        teacher.update(learner, iteration)
    after = buffers_of(teacher.detector)
    assert any("running_var" in name for name in after)
    assert all(torch.equal(after[name], start[name]) for name in start)


def test_the_teacher_never_learns_and_the_student_still_does(drawn: Any) -> None:
    learner = student()
    teacher = Teacher(learner)
    assert not teacher.detector.training
    assert not any(parameter.requires_grad for parameter in teacher.detector.parameters())
    assert learner.training
    assert all(parameter.requires_grad for parameter in learner.parameters())
    expected = learner.predict(drawn.images_BCHW, drawn.sizes_B2)[0]
    found = teacher.predict(drawn.images_BCHW, drawn.sizes_B2)[0]
    assert torch.equal(found.boxes_N4, expected.boxes_N4)
    assert not found.boxes_N4.requires_grad
    assert not teacher.detector.training


def test_a_resumed_teacher_equals_one_that_never_stopped_bit_for_bit() -> None:
    learner = student()
    teacher = Teacher(learner, interval=1)
    for iteration in range(3):
        walk(learner, iteration)
        teacher.update(learner, iteration)
    saved = copy.deepcopy(teacher.state_dict())
    resumed = Teacher(student(), interval=1)
    resumed.load_state_dict(saved)
    for iteration in range(3, 6):
        walk(learner, iteration)
        teacher.update(learner, iteration)
        resumed.update(learner, iteration)
    final, again = teacher.state_dict(), resumed.state_dict()
    assert all(torch.equal(final[name], again[name]) for name in final)
    assert not all(torch.equal(final[name], saved[name]) for name in final)


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"momentum_floor": 0.0}, {"warmup_gamma": -1.0}, {"interval": 0}):
        with pytest.raises(ModelError, match="momentum_floor"):
            Teacher(student(), **wrong)
