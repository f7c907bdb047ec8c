"""What the numbers of YOLO lines mean, told by the whole set and never by the count or the size of one.

In: the lines of a subset, the numbers of key points that `data.yaml` says, and what the user says. Out: a box and a
score for each line, boxes xyxy as shares of the image. Behind the class stands

    centre, width, height             a box
    … then key points                 as `kpt_shape` says; else see `storage.readers.yolo_meaning`
    at least three corners            a polygon, whose box is taken
    … then one number more            whole numbers throughout are a tracker's ids; with fractions, scores of 0 to 1
    … or two                          a score and a tracker's id

What was taken of the last three is a remark. A line that holds none of these is dropped, counted and named. Numbers
in pixels and boxes given by their corners are recognised by the set and refused: a SourceError says how to convert.

Shapes: L lines of one count of C numbers, N lines of all counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.yolo_lines import Line
from storage.readers.yolo_meaning import (
    BOX,
    MIN_LINES,
    MOST,
    POINTS,
    POLYGON,
    SLACK,
    Floats,
    Meaning,
    long_meaning,
)

Columns = Literal["auto", "polygons", "key-points", "scores", "ids"]
"""What a user says of the numbers behind a class; auto: the set tells."""

_MIN_PIXELS = 1.5
"""No share of an image comes near it, but for single wrong lines."""
_TAILS = {
    ("score",): "last number within 0..1 with fractions (taken as a score)",
    ("id",): "last number whole (taken as a tracker's id)",
    ("score", "id"): "last two numbers (taken as a score and a tracker's id)",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boxes:
    """The boxes of N lines."""

    corners_N4: Floats
    """xyxy, shares of the image."""
    scores_N: npt.NDArray[np.float32]
    sound_N: npt.NDArray[np.bool_]
    """Whether a line has a box."""


def read_boxes(
    lines: Sequence[Line],
    *,
    where: Callable[[Line], str],
    num_key_values: int,
    columns: Columns,
    problems: Problems,
) -> Boxes:
    """Return the boxes of all lines of a subset; `where` names a line.

    Raises SourceError when the set does not tell what its numbers mean, or that they are no shares.
    """
    rows: dict[int, list[int]] = {}
    for row, line in enumerate(lines):
        rows.setdefault(len(line.values), []).append(row)
    groups = {
        count: np.array([lines[row].values for row in rows[count]], np.float64) for count in sorted(rows)
    }
    places = {count: where(lines[rows[count][0]]) for count in groups}
    _refuse_pixels(groups, places)
    _refuse_corners(groups, places)
    meanings = _told(_meanings(groups, places, num_key_values, columns), groups, places, columns)
    boxes = Boxes(
        corners_N4=np.zeros((len(lines), 4)),
        scores_N=np.ones(len(lines), np.float32),
        sound_N=np.zeros(len(lines), bool),
    )
    for count, meaning in meanings.items():
        _place(boxes, np.array(rows[count]), groups[count], meaning)
    for count, meaning in meanings.items():
        _remark(meaning, rows[count], lambda row: where(lines[row]), num_key_values, problems)
    for row in np.flatnonzero(~boxes.sound_N).tolist():
        reason = _why_unsound(lines[row].values, meanings, num_key_values)
        problems.add("malformed line (dropped)", f"{where(lines[row])}: {reason}")
    return boxes


def _meanings(
    groups: Mapping[int, Floats], places: Mapping[int, str], num_key_values: int, columns: Columns
) -> dict[int, Meaning]:
    """Return what lines of each count hold; counts of neither box nor polygon are not in it."""
    meanings = {4: BOX, 5: replace(BOX, tail=None)}
    long = {count: values_LC for count, values_LC in groups.items() if count >= 6}
    if num_key_values:
        known = 4 + num_key_values
        meanings |= {known: POINTS, known + 1: replace(POINTS, tail=None)}
        meanings[known + 2] = replace(POINTS, tail=("score", "id"))
    elif columns == "key-points":
        meanings |= dict.fromkeys(long, POINTS)
    elif columns == "polygons" or len(long) > 1:
        has_tail = all(count % 2 for count in long) and (
            columns == "polygons" or _num_lines(long) >= MIN_LINES
        )
        meanings |= {count: _polygon(has_tail) for count in long if has_tail == bool(count % 2)}
    else:
        for count, values_LC in long.items():
            meaning = long_meaning(values_LC, places[count])
            meanings |= {count: meaning} if meaning is not None else {}
    return {count: meanings[count] for count in groups if count in meanings}


def _polygon(has_tail: bool) -> Meaning:
    return replace(POLYGON, tail=None) if has_tail else POLYGON


def _num_lines(groups: Mapping[int, Floats]) -> int:
    return sum(map(len, groups.values()))


def _told(
    meanings: Mapping[int, Meaning], groups: Mapping[int, Floats], places: Mapping[int, str], columns: Columns
) -> dict[int, Meaning]:
    """Return the meanings with the kind of each last number: all such numbers of the set tell it."""
    open_ = [count for count, meaning in meanings.items() if meaning.tail is None]
    if not open_:
        return dict(meanings)
    tails = np.concatenate([groups[count][:, -1] for count in open_])
    within = float(((tails >= 0) & (tails <= 1)).mean())
    if columns == "ids" or (columns != "scores" and not np.any(tails % 1)):
        told = "id"
    elif columns == "scores" or within >= 0.5:
        told = "score"
    else:
        raise SourceError(
            f"expected scores within 0..1 or the whole numbers of a tracker as last numbers, got {tails.min():g} "
            f"to {tails.max():g}: {places[open_[0]]}; divide percents by 100, or take the column out"
        )
    return {
        count: replace(meaning, tail=(told,)) if meaning.tail is None else meaning  # type: ignore[arg-type]
        for count, meaning in meanings.items()
    }


def _place(boxes: Boxes, rows_L: npt.NDArray[np.int64], values_LC: Floats, meaning: Meaning) -> None:
    """Fill in the boxes and scores of lines of one count."""
    if meaning.shape == "box":
        half_L2 = values_LC[:, 2:4] / 2
        boxes.corners_N4[rows_L] = np.hstack([values_LC[:, :2] - half_L2, values_LC[:, :2] + half_L2])
    else:
        corners_LK2 = values_LC[:, : values_LC.shape[1] - meaning.num_tail].reshape(len(values_LC), -1, 2)
        boxes.corners_N4[rows_L] = np.hstack([corners_LK2.min(axis=1), corners_LK2.max(axis=1)])
    boxes.sound_N[rows_L] = True
    if meaning.tail and meaning.tail[0] == "score":
        scores_L = values_LC[:, -len(meaning.tail)]
        boxes.scores_N[rows_L] = scores_L
        boxes.sound_N[rows_L] = (scores_L >= 0) & (scores_L <= 1)


def _remark(
    meaning: Meaning,
    rows: Sequence[int],
    place: Callable[[int], str],
    num_key_values: int,
    problems: Problems,
) -> None:
    rows_L = np.array(rows)
    if meaning.points and not num_key_values:
        problems.remark_rows("line of a box and key points without kpt_shape (the box taken)", rows_L, place)
    if meaning.tail:
        problems.remark_rows(_TAILS[meaning.tail], rows_L, place)


def _why_unsound(values: Sequence[float], meanings: Mapping[int, Meaning], num_key_values: int) -> str:
    count = len(values)
    if count in meanings:
        return f"expected a score within 0..1, got {values[-len(meanings[count].tail or ())]:g}"
    points = f" and {num_key_values} of its key points (kpt_shape)" if num_key_values else ""
    return f"expected 4 numbers of a box{points}, with a score 5, or corners of a polygon, got {count}"


def _refuse_pixels(groups: Mapping[int, Floats], places: Mapping[int, str]) -> None:
    """Raise SourceError where most lines are no shares of an image."""
    beyond = {
        count: values_LC[:, :4].max(axis=1) > _MIN_PIXELS for count, values_LC in groups.items() if count
    }
    num_beyond = sum(int(mask_L.sum()) for mask_L in beyond.values())
    if num_beyond and 2 * num_beyond >= _num_lines(groups):
        count = next(count for count, mask_L in beyond.items() if mask_L.any())
        first = groups[count][int(np.argmax(beyond[count])), :4]
        raise SourceError(
            f"expected centre, width and height as shares of the image, 0 to 1, got {num_beyond:,} lines in pixels "
            f"or percents, such as {' '.join(f'{value:g}' for value in first)}: {places[count]}; divide x and "
            "width by the width of the image, y and height by its height, or give the boxes as COCO"
        )


def _refuse_corners(groups: Mapping[int, Floats], places: Mapping[int, str]) -> None:
    """Raise SourceError where boxes are left, top, right and bottom: as centre and size many leave the image."""
    short = {count: values_LC[:, :4] for count, values_LC in groups.items() if count in {4, 5}}
    if _num_lines(short) < MIN_LINES:
        return
    values_L4 = np.concatenate(list(short.values()))
    ordered_L = (values_L4[:, 2:] > values_L4[:, :2]).all(axis=1) & (values_L4 <= 1 + SLACK).all(axis=1)
    leaves_L = (values_L4[:, :2] + values_L4[:, 2:] / 2 > 1 + SLACK).any(axis=1)
    leaves_L |= (values_L4[:, :2] - values_L4[:, 2:] / 2 < -SLACK).any(axis=1)
    if ordered_L.mean() >= MOST and leaves_L.mean() >= 0.2:
        raise SourceError(
            "expected centre, width and height, got boxes that look like left, top, right and bottom: otherwise "
            f"{int(leaves_L.sum()):,} of {len(values_L4):,} leave their image: {places[next(iter(short))]}; "
            "convert them, or give the boxes as COCO"
        )
