"""Curves of blocks."""

import math

from hypothesis import given
from hypothesis import strategies as st

from jobs.console.curves import BLOCKS, sparkline


def test_the_least_is_lowest_and_the_greatest_highest() -> None:
    assert sparkline([0, 7, 3.5]) == "▁█▅"
    assert sparkline([2, 2]) == "▅▅"
    assert sparkline([0, math.nan, 1]) == "▁ █"
    assert sparkline([math.inf]) == " "
    assert sparkline([]) == ""


def test_long_curves_are_means_of_stretches() -> None:
    assert sparkline([0, 0, 10, 10], width=2) == "▁█"
    assert sparkline([0, 10, math.nan, 10, 10, 10], width=3) == "▁██"


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=200), st.integers(1, 60))
def test_a_curve_is_never_wider_than_asked(values: list[float], width: int) -> None:
    curve = sparkline(values, width)
    assert len(curve) == min(len(values), width)
    assert set(curve) <= set(BLOCKS) | {" "}
