"""The teacher follows the formula, leaves buffers alone and resumes exactly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.detector import Detector
from model.detectors.compact_fcos.detector import CompactFCOS
from model.method.teacher import Teacher


class WithBuffer(CompactFCOS):
    """A detector with a buffer, as batch-norm statistics are one."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__(num_classes=2)
        self.register_buffer("seen", torch.tensor(1.0))


def student() -> WithBuffer:
    torch.manual_seed(0)
    return WithBuffer()


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
    teacher.momentum_floor, teacher.warmup_gamma = 0.0002, 4.0
    share = teacher.momentum(iteration)
    assert share == max(0.0002, 4 / (4 + iteration))
    assert share >= teacher.momentum(iteration + 1) >= 0.0002
    assert teacher.momentum(0) == 1.0


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


def test_buffers_are_copied_at_the_start_only() -> None:
    learner = student()
    learner.seen.fill_(5.0)
    teacher = Teacher(learner, interval=1)
    learner.seen.fill_(9.0)
    teacher.update(learner, 0)
    assert isinstance(teacher.detector, WithBuffer)
    assert teacher.detector.seen.item() == 5.0
    teacher.copy_from(learner)
    assert teacher.detector.seen.item() == 9.0


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
        with pytest.raises(ValueError, match="momentum_floor"):
            Teacher(student(), **wrong)
