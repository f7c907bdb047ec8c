"""Plans of views are pure functions of generator, settings and sizes, and keep the method's bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plans.view_plans import ViewPlan, plan_labeled, plan_strong, plan_test, plan_weak
from pipeline.settings import COLOUR_OPS, ViewSettings

SIZES = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=5)
PLANNERS = (plan_weak, plan_strong, plan_labeled)


def fields(plan: ViewPlan) -> list[np.ndarray]:
    return [np.asarray(getattr(plan, name)) for name in ViewPlan.__slots__]


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_the_same_generator_and_sizes_give_the_same_plan(sizes: list[tuple[int, int]], seed: int) -> None:
    for planner in PLANNERS:
        first = planner(np.random.default_rng(seed), ViewSettings(), sizes)
        second = planner(np.random.default_rng(seed), ViewSettings(), sizes)
        for one, other in zip(fields(first), fields(second), strict=True):
            np.testing.assert_array_equal(one, other)


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_sizes_stay_within_the_short_and_the_long_side(sizes: list[tuple[int, int]], seed: int) -> None:
    for planner in PLANNERS:
        plan = planner(np.random.default_rng(seed), ViewSettings(), sizes)
        assert (plan.sizes_B2.max(axis=1) <= 1333).all()
        assert (plan.sizes_B2.min(axis=1) <= 1200).all()
        free = plan.sizes_B2.max(axis=1) < 1333
        assert (plan.sizes_B2.min(axis=1)[free] >= 400).all()
        height, width = plan.padded_size
        assert height % 32 == width % 32 == 0
        assert (np.array([height, width]) - plan.sizes_B2.max(axis=0) < 32).all()


@given(sizes=SIZES, seed=st.integers(0, 1000), multiple=st.sampled_from([1, 32, 56]))
def test_square_views_have_the_side_that_is_drawn_as_a_multiple_of_the_padding(
    sizes: list[tuple[int, int]], seed: int, multiple: int
) -> None:
    view = ViewSettings(short_range=(40, 700), long_max=650, test_short=640, pad_multiple=multiple)
    square = replace(view, resize="square")
    for planner in PLANNERS:
        drawn = planner(np.random.default_rng(seed), replace(view, long_max=10**7), sizes).sizes_B2.min(
            axis=1
        )
        plan = planner(np.random.default_rng(seed), square, sizes)
        assert (plan.sizes_B2[:, 0] == plan.sizes_B2[:, 1]).all()
        assert (plan.sizes_B2 % multiple == 0).all()
        assert (plan.sizes_B2 <= 650).all()
        near = np.abs(plan.sizes_B2[:, 0] - drawn) <= multiple / 2
        assert (near | (drawn > 650 - multiple) | (drawn < multiple)).all()
        assert plan.padded_size == tuple(plan.sizes_B2.max(axis=0))
    assert set(plan_test(square, sizes).sizes_B2.ravel().tolist()) == {{1: 640, 32: 640, 56: 616}[multiple]}


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_a_weak_matrix_maps_the_image_onto_the_view(sizes: list[tuple[int, int]], seed: int) -> None:
    plan = plan_weak(np.random.default_rng(seed), ViewSettings(), sizes)
    for matrix, (height, width), (view_h, view_w), flipped in zip(
        plan.matrices_B33, plan.source_sizes_B2, plan.sizes_B2, plan.flips_B, strict=True
    ):
        corners = matrix @ np.array([[0, width], [0, height], [1, 1]])
        expected = [[view_w, 0] if flipped else [0, view_w], [0, view_h], [1, 1]]
        np.testing.assert_allclose(corners, expected, atol=1e-9)


def test_a_strong_matrix_is_the_weak_one_followed_by_one_geometric_operation() -> None:
    view = ViewSettings(flip=0.0, geometric_ops=("translate_x",))
    plan = plan_strong(np.random.default_rng(3), view, [(480, 640)] * 50)
    shifts = plan.matrices_B33[:, 0, 2] / plan.sizes_B2[:, 1]
    assert np.abs(shifts).max() <= 0.1
    assert shifts.std() > 0.04  # uniform over +-0.1 has 0.058
    np.testing.assert_allclose(plan.matrices_B33[:, 1, 2], 0, atol=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_colour_values_stay_in_their_ranges(seed: int) -> None:
    plan = plan_labeled(np.random.default_rng(seed), ViewSettings(), [(50, 60)] * 40)
    ranges = {"posterize": (0, 4), "solarize": (0, 256)}
    for op, value in zip(plan.colour_ops_B, plan.colour_values_B, strict=True):
        low, high = ranges.get(COLOUR_OPS[op], (0.1, 1.9))
        assert low <= value <= high


def test_posterize_removes_as_many_bits_as_its_range_says() -> None:
    view = ViewSettings(colour_ops=("posterize",), posterize_range=(4, 7))
    plan = plan_labeled(np.random.default_rng(0), view, [(50, 60)] * 200)
    assert set(plan.colour_values_B) == {4, 5, 6, 7}


def test_every_operation_and_both_orders_are_drawn() -> None:
    plan = plan_strong(np.random.default_rng(0), ViewSettings(), [(50, 60)] * 400)
    counts = np.bincount(plan.colour_ops_B, minlength=len(COLOUR_OPS))
    assert counts.min() > 20
    assert 150 < plan.colour_first_B.sum() < 250
    assert 150 < plan.flips_B.sum() < 250


def test_settings_without_operations_leave_a_resize_and_a_flip() -> None:
    plain = ViewSettings(colour_ops=(), geometric_ops=())
    plan = plan_strong(np.random.default_rng(0), plain, [(50, 60)] * 20)
    assert (plan.colour_ops_B == COLOUR_OPS.index("identity")).all()
    np.testing.assert_array_equal(plan.matrices_B33[:, 1, 0], 0)
    np.testing.assert_array_equal(np.abs(plan.matrices_B33[:, 0, 0]), plan.sizes_B2[:, 1] / 60)


def test_a_test_view_has_short_side_800_and_long_side_at_most_1333() -> None:
    plan = plan_test(ViewSettings(), [(480, 640), (640, 480), (300, 1000)])
    assert plan.sizes_B2.tolist() == [[800, 1067], [1067, 800], [400, 1333]]
    assert not plan.flips_B.any()
    assert plan.padded_size == (1088, 1344)


@pytest.mark.parametrize("sizes", [[], [(0, 5)], [(5, 5, 3)], (480, 640)])
def test_sizes_that_no_image_has_are_refused(sizes: object) -> None:
    with pytest.raises(ValueError, match=r"source sizes: got .*\(height, width\)"):
        plan_test(ViewSettings(), sizes)
