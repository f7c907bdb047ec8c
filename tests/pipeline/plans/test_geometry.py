"""Sizes and matrices against the plain definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plans.geometry import (
    fitted_sizes,
    geometric_matrix,
    padded_size,
    resize_matrices,
    short_side_sizes,
)
from pipeline.settings import GEOMETRIC_OPS
from tests.pipeline import reference

SIDE = st.integers(1, 2000)


@pytest.mark.parametrize("name", GEOMETRIC_OPS)
@pytest.mark.parametrize("amount", [-0.5, -0.05, 0.0, 0.3])
def test_a_geometric_matrix_is_the_plain_definition(name: str, amount: float) -> None:
    for size in ((60, 100), (801, 333)):
        found = geometric_matrix(name, amount, height=size[0], width=size[1])
        np.testing.assert_allclose(found, reference.geometric_matrix(name, amount, size), atol=1e-9)


def test_geometric_operations_keep_the_centre_or_shift_it_by_the_drawn_fraction() -> None:
    centre = np.array([50, 30, 1.0])
    for name in ("rotate", "shear_x", "shear_y"):
        moved = geometric_matrix(name, 0.4, height=60, width=100) @ centre
        np.testing.assert_allclose(moved, centre, atol=1e-12)
    along_x = geometric_matrix("translate_x", 0.1, height=60, width=100) @ centre
    along_y = geometric_matrix("translate_y", -0.1, height=60, width=100) @ centre
    np.testing.assert_allclose([along_x, along_y], [[60, 30, 1], [50, 24, 1]])


def test_a_quarter_turn_takes_the_right_edge_to_the_bottom() -> None:
    turn = geometric_matrix("rotate", np.pi / 2, height=100, width=100)
    np.testing.assert_allclose(turn @ [100, 50, 1], [50, 100, 1], atol=1e-12)


@given(source=st.tuples(SIDE, SIDE), size=st.tuples(SIDE, SIDE), flip=st.booleans())
def test_a_resize_matrix_is_the_plain_definition(
    source: tuple[int, int], size: tuple[int, int], flip: bool
) -> None:
    (found,) = resize_matrices(np.array([source]), np.array([size]), np.array([flip]))
    np.testing.assert_allclose(found, reference.resize_matrix(source, size, flip=flip), rtol=1e-12)


@given(source=st.tuples(SIDE, SIDE), bounds=st.tuples(SIDE, SIDE))
def test_fitted_sizes_are_the_plain_definition(source: tuple[int, int], bounds: tuple[int, int]) -> None:
    sizes, scales = fitted_sizes(np.array([source]), np.array(bounds), "linear")
    assert tuple(sizes[0]) == reference.fitted(source, bounds)
    assert scales is None


@given(source=st.tuples(SIDE, SIDE), bounds=st.tuples(SIDE, SIDE))
def test_fitted_sizes_of_the_reference_mode_cut_fractions(
    source: tuple[int, int], bounds: tuple[int, int]
) -> None:
    sizes, scales = fitted_sizes(np.array([source]), np.array(bounds), "reference")
    scale = min(bounds[0] / source[0], bounds[1] / source[1])
    assert scales is not None
    assert scales.tolist() == [scale]
    assert sizes.tolist() == [[max(int(side * scale), 1) for side in source]]


@given(source=st.tuples(SIDE, SIDE), short=st.integers(1, 1200))
def test_a_short_side_is_met_or_the_long_side_wins(source: tuple[int, int], short: int) -> None:
    ((height, width),) = short_side_sizes(np.array([source]), np.array([short]), 1333).tolist()
    scale = min(short / min(source), 1333 / max(source))
    assert (height, width) == tuple(max(int(side * scale + 0.5), 1) for side in source)
    assert max(height, width) <= 1333


@given(sizes=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=5), multiple=st.integers(1, 64))
def test_a_padded_size_is_the_smallest_multiple_that_holds_all(
    sizes: list[tuple[int, int]], multiple: int
) -> None:
    padded = padded_size(np.array(sizes), multiple)
    assert padded == tuple(reference.rounded_up(max(side), multiple) for side in zip(*sizes, strict=True))
