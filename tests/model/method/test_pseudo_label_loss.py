"""Which pseudo labels count, when a batch is skipped, and what is said then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from model.detector import Detections, Detector, Sizes, Target
from model.method.pseudo_label_loss import (
    SemiSupervisedSettings,
    above_threshold,
    gate_reason,
    unsupervised_loss,
)

IMAGES = torch.zeros(2, 3, 32, 32)
SIZES = [(32, 32)] * 2
scores = st.lists(st.floats(0, 1, width=32), max_size=6)


class InfiniteLoss(Detector):
    """A detector whose loss is infinite: times 0 it would be NaN."""

    num_classes = 1

    def losses(
        self,
        images_BCHW: Tensor,  # noqa: ARG002
        sizes_B2: Sizes,  # noqa: ARG002
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        return {"loss": torch.tensor(float("inf")), "boxes": torch.tensor(float(sum(map(count, targets))))}

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:  # noqa: ARG002
        return []

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        return []


def count(target: Target) -> int:
    return len(target.boxes_N4)


def labels(*values: float) -> Detections:
    n = len(values)
    return Detections(
        boxes_N4=torch.tensor([[0.0, 0, 8, 8]]).repeat(n, 1),
        categories_N=torch.zeros(n, dtype=torch.int64),
        scores_N=torch.tensor(values, dtype=torch.float32),
    )


def config(
    threshold: float, gate: Literal["every_image", "any_image"] = "every_image"
) -> SemiSupervisedSettings:
    return SemiSupervisedSettings(score_threshold=threshold, gate=gate)


def test_a_score_counts_only_when_strictly_above_the_threshold() -> None:
    kept = above_threshold(labels(0.25, 0.5, 0.75), 0.5)
    assert count(kept) == 1


@given(values=scores, low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_threshold_never_keeps_more(values: list[float], low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    assert count(above_threshold(labels(*values), high)) <= count(above_threshold(labels(*values), low))


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


def test_a_closed_gate_runs_no_loss_and_says_why_in_numbers() -> None:
    outcome = unsupervised_loss(
        InfiniteLoss(), IMAGES, SIZES, [labels(0.9, 0.2), labels(0.1)], settings=config(0.5), weight=2.0
    )
    assert outcome.losses == {}
    assert outcome.num_boxes == (2, 1)
    assert outcome.num_kept == (1, 0)
    assert outcome.reason is not None
    for number in ("every_image", "1 of 2 images", "[1, 0]", "threshold 0.5", "3 boxes", "0.200", "0.900"):
        assert number in outcome.reason
    assert outcome.score_quantiles == pytest.approx((0.1, 0.15, 0.2, 0.55, 0.9))


def test_no_box_at_all_is_said_as_such() -> None:
    outcome = unsupervised_loss(
        InfiniteLoss(), IMAGES, SIZES, [labels(), labels()], settings=config(0.7, "any_image"), weight=2.0
    )
    assert outcome.score_quantiles is None
    assert "no box at all in 2 images" in str(outcome.reason)


def test_a_weight_of_zero_skips_an_infinite_loss_instead_of_multiplying_it() -> None:
    outcome = unsupervised_loss(
        InfiniteLoss(), IMAGES, SIZES, [labels(0.9), labels(0.9)], settings=config(0.5), weight=0.0
    )
    assert outcome.losses == {}
    assert "weight 0" in str(outcome.reason)


def test_an_open_gate_gives_the_students_loss_on_the_kept_boxes_times_the_weight(
    fcos: Detector, drawn: Any
) -> None:
    fcos.train()
    pseudo = [
        Detections(
            boxes_N4=torch.cat([target.boxes_N4, torch.tensor([[1.0, 1.0, 60.0, 60.0]])]),
            categories_N=torch.cat([target.categories_N, torch.tensor([0])]),
            scores_N=torch.tensor([0.9] * len(target.boxes_N4) + [0.3]),
        )
        for target in drawn.targets
    ]
    outcome = unsupervised_loss(
        fcos, drawn.images_BCHW, drawn.sizes_B2, pseudo, settings=config(0.3), weight=2.0
    )
    expected = fcos.losses(drawn.images_BCHW, drawn.sizes_B2, drawn.targets)
    assert outcome.reason is None
    assert outcome.num_kept == (3, 3)
    assert {name: part.item() for name, part in outcome.losses.items()} == pytest.approx(
        {name: 2 * part.item() for name, part in expected.items()}
    )


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.5}, {"gate": "all"}, {"least_num": -1}, {"unsup_weight": -1.0}]
)
def test_settings_that_mean_nothing_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SemiSupervisedSettings(**{"score_threshold": 0.5, **wrong})


def test_the_defaults_are_the_published_weights() -> None:
    published = SemiSupervisedSettings(score_threshold=0.7)
    assert (published.unsup_weight, published.mosaic_weight, published.least_num) == (2.0, 0.5, 1)
    assert published.gate == "every_image"


def test_a_threshold_for_each_class_keeps_only_what_is_strictly_above_its_own() -> None:
    labels = Detections(
        boxes_N4=torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(4, 1),
        categories_N=torch.tensor([0, 0, 1, 1]),
        scores_N=torch.tensor([0.5, 0.6, 0.3, 0.2]),
    )
    kept = above_threshold(labels, torch.tensor([0.5, 0.25], dtype=torch.float64))
    assert kept.categories_N.tolist() == [0, 1]
