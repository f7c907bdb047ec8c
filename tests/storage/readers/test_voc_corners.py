"""How corners count shows in the whole set: pixels from 1, edges from 0, edges from 1; slips are no evidence."""

from __future__ import annotations

import numpy as np
import pytest

from storage.problems import Problems
from storage.readers.voc_corners import Corners, WrittenBoxes, edges_of

Box = tuple[float, float, float, float]
INSIDE = (11.0, 6.0, 30.0, 15.0)


def written(
    corners: list[Box], *, size: tuple[int, int] = (40, 50), scores: bool = False, from_zero: int = 0
) -> WrittenBoxes:
    count = len(corners)
    return WrittenBoxes(
        corners_A4=np.array(corners, np.float64).reshape(-1, 4),
        sizes_A2=np.array([size] * count, np.int32).reshape(-1, 2),
        is_bndbox_A=np.ones(count, bool),
        has_score_A=np.full(count, scores),
        is_from_zero_A=np.arange(count) < from_zero,
        describe=lambda row: f"object {row}",
    )


SHIFTED = {
    "pixels-from-1": (10.0, 5.0, 30.0, 15.0),
    "edges-from-0": (11.0, 6.0, 30.0, 15.0),
    "edges-from-1": (10.0, 5.0, 29.0, 14.0),
}


@pytest.mark.parametrize(
    ("others", "count", "remark"),
    [
        ([], "pixels-from-1", None),
        ([(1, 1, 50, 40)], "pixels-from-1", None),
        ([(0, 3, 20, 20)], "edges-from-0", "corner from 0"),
        ([(0.5, 3, 20, 20)], "edges-from-0", "corner from 0"),
        ([(3, 0, 51, 20)], "edges-from-0", "corner from 0"),
        ([(0, 3, 20, 20)] + [(1, 3, 20, 20)] * 9, "edges-from-0", "corner from 0"),
        ([(0, 3, 20, 20)] + [(1, 3, 20, 20)] * 10, "pixels-from-1", "corner at 0 in a set"),
        ([(3, 3, 51, 20)], "edges-from-1", "corner one pixel beyond"),
        ([(3, 3, 20, 41)], "edges-from-1", "corner one pixel beyond"),
        ([(3, 3, 51, 20)] + [(3, 3, 50, 20)] * 10, "pixels-from-1", "corner one pixel beyond in a set"),
        ([(3, 3, 52, 20)], "pixels-from-1", None),
        ([(3, 3, 500, 400)], "pixels-from-1", None),
        ([(3.25, 3.5, 20.5, 20)], "edges-from-0", "corner with a fraction"),
        ([(3.25, 3.5, 20.5, 20)] + [INSIDE] * 9, "pixels-from-1", None),
        ([(-3, 3, 20, 20)], "pixels-from-1", None),
    ],
)
def test_the_count_is_that_of_the_whole_set_and_said(
    others: list[Box], count: str, remark: str | None
) -> None:
    problems = Problems()
    edges_A4, found = edges_of(written([INSIDE, *others]), "auto", problems)
    assert found == count
    assert tuple(edges_A4[0]) == SHIFTED[count]
    assert [kind.partition(" (")[0] for kind in problems.remarks] == (
        [] if remark is None else [next(kind for kind in KINDS if kind.startswith(remark))]
    )
    assert not problems.counts


KINDS = (
    "corner from 0",
    "corner at 0 in a set that counts from 1",
    "corner one pixel beyond",
    "corner one pixel beyond in a set that counts from 1",
    "corner with a fraction",
)


@pytest.mark.parametrize("corners", ["pixels-from-1", "edges-from-0", "edges-from-1"])
def test_what_the_user_says_counts_whatever_the_set_shows(corners: Corners) -> None:
    problems = Problems()
    edges_A4, found = edges_of(written([INSIDE, (0, 0, 51, 41)]), corners, problems)
    assert found == corners
    assert tuple(edges_A4[0]) == SHIFTED[corners]
    assert not problems.remarks


def test_fractions_of_boxes_with_scores_are_no_evidence() -> None:
    _, found = edges_of(written([(3.25, 3.5, 20.5, 20)], scores=True), "auto", Problems())
    assert found == "pixels-from-1"


@pytest.mark.parametrize(("from_zero", "count"), [(2, "edges-from-0"), (1, "pixels-from-1")])
def test_a_tool_that_is_known_to_count_from_zero_decides_where_it_wrote_most(
    from_zero: int, count: str
) -> None:
    problems = Problems()
    _, found = edges_of(written([(1, 1, 50, 40)] * 3, from_zero=from_zero), "auto", problems)
    assert found == count
    assert list(problems.remarks.values()) == ([2] if from_zero == 2 else [])


def test_an_image_of_unknown_size_has_no_corner_beyond_it() -> None:
    _, found = edges_of(written([(1, 1, 1, 1)], size=(0, 0)), "auto", Problems())
    assert found == "pixels-from-1"


def test_a_set_without_objects_counts_as_voc_does() -> None:
    edges_A4, found = edges_of(written([]), "auto", Problems())
    assert (edges_A4.shape, found) == ((0, 4), "pixels-from-1")
