"""What the numbers of YOLO lines mean: told by the whole set, or refused with the option to say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.yolo_columns import Boxes, Columns, read_boxes
from storage.readers.yolo_lines import Line

RNG = np.random.default_rng(0)
SCORE_REMARK = "last number within 0..1 with fractions (taken as a score)"
ID_REMARK = "last number whole (taken as a tracker's id)"
BOTH_REMARK = "last two numbers (taken as a score and a tracker's id)"
POINTS_REMARK = "line of a box and key points without kpt_shape (the box taken)"


def read(
    rows: Sequence[Sequence[float]], *, key_values: int = 0, columns: Columns = "auto"
) -> tuple[Boxes, Problems]:
    problems = Problems()
    lines = [Line(0, number, 0, list(map(float, row))) for number, row in enumerate(rows, 1)]
    boxes = read_boxes(
        lines,
        where=lambda line: f"a.txt:{line.row}",
        num_key_values=key_values,
        columns=columns,
        problems=problems,
    )
    return boxes, problems


def some_boxes(count: int) -> npt.NDArray[np.float64]:
    """Return boxes anywhere in the image, as centre and size."""
    sizes = RNG.uniform(0.05, 0.4, (count, 2))
    return np.hstack([RNG.uniform(sizes / 2, 1 - sizes / 2), sizes])


def corners(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])


def poses(count: int, num_points: int, *, visible: bool, absent: bool = True) -> npt.NDArray[np.float64]:
    """Return boxes with points in them, of which some are at 0 0: not in the image."""
    boxes = some_boxes(count)
    points = RNG.uniform(-0.5, 0.5, (count, num_points, 2)) * boxes[:, None, 2:] + boxes[:, None, :2]
    if absent:
        points[RNG.uniform(size=points.shape[:2]) < 0.2] = 0
    if visible:
        points = np.concatenate([points, RNG.integers(0, 3, (count, num_points, 1))], axis=2)
    return np.hstack([boxes, points.reshape(count, -1)])


def polygons(count: int, num_corners: int) -> npt.NDArray[np.float64]:
    """Return ellipses with corners, anywhere in the image."""
    boxes = some_boxes(count)
    angles = np.linspace(0, 2 * np.pi, num_corners, endpoint=False) + RNG.uniform(0, 1, (count, 1))
    circles = np.stack([np.cos(angles), np.sin(angles)], axis=2) / 2
    return (circles * boxes[:, None, 2:] + boxes[:, None, :2]).reshape(count, -1)


def around(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    points = rows.reshape(len(rows), -1, 2)
    return np.hstack([points.min(axis=1), points.max(axis=1)])


@pytest.mark.parametrize(
    ("num_points", "visible"), [(1, True), (2, True), (4, True), (17, True), (17, False)]
)
def test_a_pose_set_without_kpt_shape_is_recognised_by_all_its_lines(num_points: int, visible: bool) -> None:
    rows = poses(60, num_points, visible=visible)
    boxes, problems = read(rows.tolist())
    np.testing.assert_allclose(boxes.corners_N4, corners(rows[:, :4]))
    assert problems.remarks == {POINTS_REMARK: 60}
    assert not problems


@pytest.mark.parametrize("num_corners", [3, 4, 5, 7, 19])
def test_polygons_of_one_count_are_no_poses(num_corners: int) -> None:
    rows = polygons(60, num_corners)
    boxes, problems = read(rows.tolist())
    np.testing.assert_allclose(boxes.corners_N4, around(rows))
    assert not problems.remarks
    assert not problems


def test_turned_boxes_are_polygons_even_where_a_pose_would_fit() -> None:
    row = [0.30, 0.30, 0.34, 0.32, 0.32, 0.36, 0.28, 0.34]
    for rows in ([row], [row] * 20):
        boxes, problems = read(rows)
        np.testing.assert_allclose(boxes.corners_N4[0], [0.28, 0.30, 0.34, 0.36])
        assert not problems.remarks


def test_lines_of_different_counts_are_polygons() -> None:
    rows = [*polygons(3, 5).tolist(), *polygons(3, 6).tolist(), [0.5, 0.5, 0.2, 0.2]]
    boxes, problems = read(rows)
    np.testing.assert_allclose(boxes.corners_N4[0], around(np.array([rows[0]]))[0])
    np.testing.assert_allclose(boxes.corners_N4[6], [0.4, 0.4, 0.6, 0.6])
    assert not problems.remarks


FEW = [[0.3, 0.3, 0.35, 0.3, 0.36, 0.36, 0.3, 0.35]]
"""A polygon of four corners, or a box with two points in it."""


def test_few_lines_that_may_be_either_are_refused_with_the_option_to_say_it() -> None:
    words = (
        "a box with key points or the corners of a polygon.*a.txt:1; write kpt_shape.*--columns key-points or"
    )
    with pytest.raises(SourceError, match=words):
        read(FEW)
    boxes, problems = read(FEW, columns="polygons")
    np.testing.assert_allclose(boxes.corners_N4, [[0.3, 0.3, 0.36, 0.36]])
    assert not problems.remarks
    for boxes, _ in (read(FEW, columns="key-points"), read(FEW, key_values=4)):
        np.testing.assert_allclose(boxes.corners_N4, [[0.125, 0.15, 0.475, 0.45]])
    assert not problems.remarks  # kpt_shape says it


def test_few_lines_whose_visibility_no_polygon_has_are_poses() -> None:
    boxes, problems = read([[0.5, 0.5, 0.2, 0.4, 0.45, 0.5, 2, 0.55, 0.6, 1]])
    np.testing.assert_allclose(boxes.corners_N4, [[0.4, 0.3, 0.6, 0.7]])
    assert problems.remarks == {POINTS_REMARK: 1}


@pytest.mark.parametrize("tail", [[0.25, 0.5, 1, 0], [0.9, 0.8, 0.75, 1e-9]])
def test_a_fifth_number_with_fractions_is_a_score(tail: list[float]) -> None:
    rows = some_boxes(4)
    boxes, problems = read(np.column_stack([rows, tail]).tolist())
    np.testing.assert_allclose(boxes.scores_N, tail)
    np.testing.assert_allclose(boxes.corners_N4, corners(rows))
    assert problems.remarks == {SCORE_REMARK: 4}


@pytest.mark.parametrize("tail", [[3, 7, 12, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [-1, 2, 3, 4]])
def test_a_fifth_whole_number_is_a_trackers_id(tail: list[float]) -> None:
    rows = some_boxes(4)
    boxes, problems = read(np.column_stack([rows, tail]).tolist())
    assert boxes.scores_N.tolist() == [1] * 4
    assert problems.remarks == {ID_REMARK: 4}
    assert not problems


def test_an_option_says_what_the_last_number_is() -> None:
    rows = np.column_stack([some_boxes(3), [0, 1, 1]]).tolist()
    assert read(rows, columns="scores")[0].scores_N.tolist() == [0, 1, 1]
    assert read(rows, columns="ids")[0].scores_N.tolist() == [1, 1, 1]


def test_a_last_number_that_is_neither_is_refused_and_a_single_one_dropped() -> None:
    rows = np.column_stack([some_boxes(4), [87.5, 12.25, 99.5, 50]]).tolist()
    with pytest.raises(SourceError, match=r"got 12\.25 to 99\.5: a\.txt:1; divide percents by 100, or take"):
        read(rows)
    boxes, problems = read(np.column_stack([some_boxes(4), [0.5, 0.25, 0.75, 1.5]]).tolist())
    assert boxes.sound_N.tolist() == [True, True, True, False]
    assert problems.examples["malformed line (dropped)"] == ["a.txt:4: expected a score within 0..1, got 1.5"]


def test_a_score_and_an_id_behind_a_box_are_no_triangle() -> None:
    rows = some_boxes(20)
    scores = RNG.uniform(0.1, 1, 20)
    boxes, problems = read(np.column_stack([rows, scores, np.arange(20) // 10]).tolist())
    np.testing.assert_allclose(boxes.corners_N4, corners(rows))
    np.testing.assert_allclose(boxes.scores_N, scores, rtol=1e-6)
    assert problems.remarks == {BOTH_REMARK: 20}
    boxes, _ = read([[0.5, 0.5, 0.2, 0.4, 0.75, 12]])  # twelve is no corner
    assert boxes.scores_N.tolist() == [0.75]


@pytest.mark.parametrize("num_corners", [4, 6])
def test_a_score_or_an_id_behind_a_polygon_is_told_by_the_set(num_corners: int) -> None:
    rows = polygons(12, num_corners)
    scores = RNG.uniform(0.1, 1, 12)
    boxes, problems = read(np.column_stack([rows, scores]).tolist())
    np.testing.assert_allclose(boxes.corners_N4, around(rows))
    np.testing.assert_allclose(boxes.scores_N, scores, rtol=1e-6)
    assert problems.remarks == {SCORE_REMARK: 12}
    boxes, problems = read(np.column_stack([rows, scores, np.arange(12) + 3]).tolist())
    np.testing.assert_allclose(boxes.corners_N4, around(rows))
    assert problems.remarks == {BOTH_REMARK: 12}


def test_one_line_with_a_number_too_many_is_dropped_and_counted() -> None:
    rows = [*polygons(3, 4).tolist(), [*polygons(1, 3)[0].tolist(), 0.4]]
    boxes, problems = read(rows)
    assert boxes.sound_N.tolist() == [True] * 3 + [False]
    assert problems.counts == {"malformed line (dropped)": 1}
    assert "a.txt:4: expected 4 numbers of a box, with a score 5, or corners" in problems.lines()[0]


def test_a_pose_of_another_count_than_kpt_shape_says_is_dropped_and_named() -> None:
    rows = [*poses(3, 4, visible=True).tolist(), poses(1, 3, visible=True)[0].tolist()]
    boxes, problems = read(rows, key_values=12)
    assert boxes.sound_N.tolist() == [True] * 3 + [False]
    assert "and 12 of its key points (kpt_shape)" in problems.lines()[0]


@pytest.mark.parametrize("scale", [640, 100, 1000])
@pytest.mark.parametrize("kind", ["boxes", "boxes and scores", "polygons"])
def test_numbers_in_pixels_or_percents_are_refused_saying_how_to_convert(kind: str, scale: int) -> None:
    rows = {
        "boxes": some_boxes(5) * scale,
        "boxes and scores": np.column_stack([some_boxes(5) * scale, [0.5] * 5]),
        "polygons": polygons(5, 4) * scale,
    }[kind]
    with pytest.raises(
        SourceError, match=r"5 lines in pixels or percents, such as .*: a\.txt:1; divide x and"
    ):
        read(rows.tolist())


def test_one_line_in_pixels_is_no_reason_to_refuse_the_set() -> None:
    boxes, problems = read([*some_boxes(5).tolist(), [320, 240, 50, 50]])
    assert boxes.sound_N.all()  # dropped later, as wholly outside
    assert not problems


def test_boxes_given_by_their_corners_are_refused() -> None:
    with pytest.raises(
        SourceError, match=r"look like left, top, right and bottom: otherwise .* leave their image"
    ):
        read(corners(some_boxes(40)).tolist())
    boxes, _ = read(corners(some_boxes(3)).tolist())  # too few to tell
    assert boxes.sound_N.all()
    read(some_boxes(40).tolist())
