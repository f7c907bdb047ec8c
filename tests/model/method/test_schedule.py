"""The learning rate of every step: warm-up, constant, in steps, and a cosine."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.method.schedule import Schedule


def test_warm_up_goes_in_a_line_from_a_thousandth_to_one_over_500_steps() -> None:
    schedule = Schedule()
    assert schedule.factor(0) == 0.001
    assert schedule.factor(250) == pytest.approx(0.5005)
    assert schedule.factor(500) == schedule.factor(180_000) == 1.0
    assert Schedule(warmup_steps=0).factor(0) == 1.0


@given(step=st.integers(0, 1000))
def test_the_factor_never_falls_and_never_exceeds_one(step: int) -> None:
    assert 0 < Schedule().factor(step) <= Schedule().factor(step + 1) <= 1


def test_steps_lower_the_rate_at_each_milestone_and_not_before() -> None:
    schedule = Schedule(name="step", warmup_steps=10, milestones=(80, 110))
    assert [schedule.factor(step) for step in (10, 79, 80, 109)] == [1.0, 1.0, 0.1, 0.1]
    assert schedule.factor(110) == schedule.factor(10_000) == pytest.approx(0.01)
    assert schedule.factor(5) == Schedule(warmup_steps=10).factor(5)


def test_a_cosine_falls_from_the_warm_up_to_its_end_and_stays_there() -> None:
    schedule = Schedule(name="cosine", warmup_steps=100, last_step=1100, end=0.05)
    assert schedule.factor(100) == 1.0
    assert schedule.factor(600) == pytest.approx((1 + 0.05) / 2)
    assert schedule.factor(350) == pytest.approx(0.05 + 0.95 * (1 + math.sqrt(0.5)) / 2)
    assert schedule.factor(1100) == schedule.factor(5000) == pytest.approx(0.05)


@given(step=st.integers(100, 2000))
def test_no_schedule_rises_after_the_warm_up(step: int) -> None:
    for schedule in (
        Schedule(name="step", warmup_steps=100, milestones=(300, 900), decay=0.5),
        Schedule(name="cosine", warmup_steps=100, last_step=1500),
    ):
        assert 0 <= schedule.factor(step + 1) <= schedule.factor(step) <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"name": "step"}, r"ascending milestones .* got \[\]"),
        ({"name": "step", "milestones": (900, 600)}, "ascending milestones"),
        ({"name": "step", "milestones": (400, 600)}, "after the warm-up of 500"),
        ({"name": "step", "milestones": (600,), "decay": 0.0}, "decay above 0"),
        ({"name": "cosine"}, "ends at step None"),
        ({"name": "cosine", "last_step": 500}, "ends after the warm-up of 500 steps"),
        ({"name": "cosine", "last_step": 900, "end": 1.5}, "end of the cosine in 0 .. 1"),
    ],
)
def test_schedules_that_mean_nothing_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Schedule(**wrong)
