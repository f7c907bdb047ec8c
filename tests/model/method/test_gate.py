"""When a batch of pseudo labels is skipped, and what is said then."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from model.errors import ModelError
from model.method.gate import SemiSupervisedSettings, gate_reason, skip_reason


def config(
    threshold: float, gate: Literal["every_image", "any_image"] = "every_image"
) -> SemiSupervisedSettings:
    return SemiSupervisedSettings(score_threshold=threshold, gate=gate)


@pytest.mark.parametrize(
    ("kept", "every", "any_"),
    [
        ((1, 1), True, True),
        ((0, 3), False, True),
        ((0, 0), False, False),
        ((5, 2, 1), True, True),
        ((), False, False),
    ],
)
def test_the_two_gates_open_as_they_are_named(kept: tuple[int, ...], every: bool, any_: bool) -> None:
    assert (gate_reason(kept, config(0.5)) is None) is every
    assert (gate_reason(kept, config(0.5, "any_image")) is None) is any_


def test_least_num_is_asked_of_every_image() -> None:
    strict = SemiSupervisedSettings(score_threshold=0.5, least_num=3)
    assert gate_reason((3, 4), strict) is None
    assert "1 of 2 images keep fewer than 3" in str(gate_reason((3, 2), strict))


def test_a_closed_gate_says_why_in_numbers() -> None:
    reason = skip_reason(
        (1, 0), np.array([0.9, 0.2, 0.1], np.float32), config(0.5), weight=2.0, threshold=0.5
    )
    assert reason is not None
    for number in ("every_image", "1 of 2 images", "[1, 0]", "threshold 0.5", "3 boxes"):
        assert number in reason
    assert "min 0.100, 25 % 0.150, median 0.200, 75 % 0.550, max 0.900" in reason


def test_no_box_at_all_is_said_as_such() -> None:
    reason = skip_reason((0, 0), np.zeros(0, np.float32), config(0.7, "any_image"), weight=2.0, threshold=0.7)
    assert "no box at all in 2 images" in str(reason)


def test_a_weight_of_zero_skips_the_loss_instead_of_multiplying_it() -> None:
    reason = skip_reason((1, 1), np.array([0.9, 0.9], np.float32), config(0.5), weight=0.0, threshold=0.5)
    assert "weight 0" in str(reason)


def test_an_open_gate_has_no_reason() -> None:
    assert (
        skip_reason((1, 1), np.array([0.9, 0.9], np.float32), config(0.5), weight=1.0, threshold=0.5) is None
    )


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.5}, {"gate": "all"}, {"least_num": -1}, {"unsup_weight": -1.0}]
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        SemiSupervisedSettings(**{"score_threshold": 0.5, **wrong})


def test_the_defaults_are_the_published_weights() -> None:
    published = SemiSupervisedSettings()
    assert (published.unsup_weight, published.mosaic_weight, published.least_num) == (2.0, 0.5, 1)
    assert published.gate == "every_image"
