"""Plain box geometry, by property."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from storage import boxes

Boxes = npt.NDArray[np.float64]
xywh = arrays.arrays(
    np.float64, st.tuples(st.integers(0, 8), st.just(4)), elements=st.floats(0, 500, width=32)
)


@given(xywh)
def test_a_box_survives_the_way_to_corners_and_back(boxes_xywh_N4: Boxes) -> None:
    there_N4 = boxes.xywh_to_xyxy(boxes_xywh_N4)
    np.testing.assert_allclose(boxes.xyxy_to_xywh(there_N4), boxes_xywh_N4, atol=1e-9)
    np.testing.assert_allclose(boxes.area(there_N4), boxes_xywh_N4[:, 2] * boxes_xywh_N4[:, 3], atol=1e-4)


@given(xywh, st.integers(1, 400), st.integers(1, 400))
def test_a_clipped_box_lies_in_its_image_and_never_grows(
    boxes_xywh_N4: Boxes, width: int, height: int
) -> None:
    whole_N4 = boxes.xywh_to_xyxy(boxes_xywh_N4)
    clipped_N4 = boxes.clip(whole_N4, width=width, height=height)
    assert (clipped_N4 >= 0).all()
    assert (clipped_N4 <= [width, height, width, height]).all()
    assert (boxes.area(clipped_N4) <= boxes.area(whole_N4)).all()
    np.testing.assert_array_equal(boxes.clip(clipped_N4, width=width, height=height), clipped_N4)


def test_each_box_is_clipped_to_its_own_image() -> None:
    whole_N4 = np.array([[-5.0, -5, 90, 90], [-5, -5, 90, 90]], np.float32)
    clipped_N4 = boxes.clip(whole_N4, width=[50, 80], height=[40, 100])
    assert clipped_N4.tolist() == [[0, 0, 50, 40], [0, 0, 80, 90]]
    assert clipped_N4.dtype == np.float32


def test_only_finite_boxes_with_two_sides_are_valid() -> None:
    candidates_N4 = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [2, 0, 1, 1], [0, 0, np.inf, 1], [0, np.nan, 1, 1]])
    assert boxes.valid(candidates_N4).tolist() == [True, False, False, False, False]
    assert not boxes.valid(candidates_N4, min_side=1.0).any()
