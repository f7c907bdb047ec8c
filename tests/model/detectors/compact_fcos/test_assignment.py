"""The vectorised assignment equals the rule written out as loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import model.detectors.compact_fcos.assignment as subject
from model.detector import Target
from model.detectors.compact_fcos.assignment import Assignment, Locations, assign, make_locations

STRIDES = (4, 8, 16)
LIMITS = (32.0, 64.0)
SIDE = 64
WHOLE = (SIDE, SIDE)
boxes = st.lists(
    st.tuples(*[st.integers(0, 4 * SIDE).map(lambda quarter: quarter / 4) for _ in range(4)]), max_size=5
)


def locations(side: int = SIDE) -> Locations:
    return make_locations(side, side, strides=STRIDES, limits=LIMITS, device=torch.device("cpu"))


def target(corners: list[tuple[float, ...]]) -> Target:
    box = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    ordered = torch.cat([torch.minimum(box[:, :2], box[:, 2:]), torch.maximum(box[:, :2], box[:, 2:])], dim=1)
    return Target(boxes_N4=ordered, categories_N=torch.arange(len(ordered)))


def looped(wanted: Target, size: tuple[int, int]) -> list[int | None]:
    """For every location the number of its box, by the rule of the FCOS paper."""
    chosen: list[int | None] = []
    for level, stride in enumerate(STRIDES):
        low, high = ((0.0, *LIMITS)[level], (*LIMITS, float("inf"))[level])
        for row in range(SIDE // stride):
            for column in range(SIDE // stride):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                fits = []
                for number, (x1, y1, x2, y2) in enumerate(wanted.boxes_N4.tolist()):
                    sides = (x - x1, y - y1, x2 - x, y2 - y)
                    near = abs(x - (x1 + x2) / 2) < 1.5 * stride and abs(y - (y1 + y2) / 2) < 1.5 * stride
                    if min(sides) > 0 and near and low <= max(sides) <= high:
                        fits.append(((x2 - x1) * (y2 - y1), number))
                on_image = x < size[1] and y < size[0]
                chosen.append(min(fits)[1] if fits and on_image else None)
    return chosen


def numbers(assignment: Assignment, image: int) -> list[int | None]:
    pairs = zip(assignment.positive_BL[image].tolist(), assignment.categories_BL[image].tolist(), strict=True)
    return [category if positive else None for positive, category in pairs]


@given(batch=st.lists(boxes, min_size=1, max_size=3), valid=st.sampled_from([WHOLE, (40, 64), (64, 24)]))
@settings(max_examples=40, deadline=None)
def test_every_location_learns_the_box_that_the_rule_gives(
    batch: list[list[tuple[float, ...]]], valid: tuple[int, int]
) -> None:
    targets = [target(corners) for corners in batch]
    found = assign(locations(), [valid] * len(targets), targets)
    for index, wanted in enumerate(targets):
        assert numbers(found, index) == looped(wanted, valid)
        learned = found.boxes_BL4[index][found.positive_BL[index]]
        assert torch.equal(learned, wanted.boxes_N4[found.categories_BL[index][found.positive_BL[index]]])


def test_a_batch_cut_into_parts_is_assigned_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [target([(4, 4, 30, 28), (10, 8, 60, 60)]), target([]), target([(1, 1, 20, 20)])]
    whole = assign(locations(), [WHOLE] * 3, targets)
    monkeypatch.setattr(subject, "MAX_PAIRS", 1)
    parts = assign(locations(), [WHOLE] * 3, targets)
    assert torch.equal(whole.positive_BL, parts.positive_BL)
    assert torch.equal(whole.categories_BL, parts.categories_BL)
    assert torch.equal(whole.boxes_BL4, parts.boxes_BL4)


def test_the_padding_learns_nothing_even_under_a_box() -> None:
    wanted = [target([(0, 0, 64, 30)])]
    on_image = assign(locations(), [WHOLE], wanted).positive_BL.sum()
    on_half = assign(locations(), [(64, 30)], wanted).positive_BL
    points = locations().points_L2
    assert 0 < on_half.sum() < on_image
    assert (points[on_half[0]][:, 0] < 30).all()


def test_locations_are_the_centres_of_cells_from_fine_to_coarse() -> None:
    found = locations(32)
    assert len(found.points_L2) == 8 * 8 + 4 * 4 + 2 * 2
    assert found.points_L2[:2].tolist() == [[2.0, 2.0], [6.0, 2.0]]
    assert found.points_L2[-1].tolist() == [24.0, 24.0]
    assert sorted(set(found.strides_L.tolist())) == [4.0, 8.0, 16.0]
