"""The lines of a YOLO label file, each a box.

In: the text of a label file. Out: `Line`s. A line is the class index, then centre, width and height as shares of
the image, and where a tool wrote it a score; or the class and the corners of a polygon, whose box is taken.
"""

from __future__ import annotations

import math

from storage.errors import SourceError
from storage.problems import Problems

Line = tuple[int, tuple[float, float, float, float], float]
"""Class index; left, top, right, bottom as shares of the image; score."""


def parse_lines(
    path: str, text: str, index: dict[int, int], problems: Problems, num_key_values: int
) -> list[Line]:
    """Return the boxes of a label file; what is wrong in single lines is counted and named."""
    kept: list[Line] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            parsed = parse_line(line, num_key_values=num_key_values)
        except SourceError as error:
            problems.add("malformed line (dropped)", f"{path}:{number}: {error}")
            continue
        if parsed[0] not in index:
            problems.add("unknown class (dropped)", f"{path}:{number}: class {parsed[0]}")
        elif line in seen:
            problems.add("line twice (first kept)", f"{path}:{number}")
        else:
            kept.append(parsed)
        seen.add(line)
    return kept


def parse_line(line: str, *, num_key_values: int = 0) -> Line:
    """Return one line of a label file. Raises SourceError saying what is wrong with it.

    `num_key_values` numbers of key points follow a box (`kpt_shape` of data.yaml); they are passed over.
    """
    parts = line.split()
    try:
        number, values = int(float(parts[0])), [float(part) for part in parts[1:]]
    except (ValueError, OverflowError) as error:
        raise SourceError(f"expected a class index and numbers, got {error}") from None
    if float(parts[0]) != number or not all(map(math.isfinite, values)):
        raise SourceError(f"expected a class index and finite numbers, got {line.strip()}")
    if num_key_values and len(values) == 4 + num_key_values:
        values = values[:4]
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        score = values[4] if len(values) == 5 else 1.0
        if not 0 <= score <= 1:
            raise SourceError(
                f"expected a score within 0..1, got {score} (a tracker's id? take the column out)"
            )
        return number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), score
    if num_key_values or len(values) < 6 or len(values) % 2:
        points = f" and {num_key_values} of its key points (kpt_shape)" if num_key_values else ""
        raise SourceError(
            f"expected 4 numbers of a box{points}, with a score 5, or corners of a polygon, got {len(values)}"
        )
    return number, (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])), 1.0
