"""The lines of YOLO label files as numbers.

In: the text of each label file. Out: `Line`s, each a class and the numbers behind it; what these mean is told by
the whole set, in `storage.readers.yolo_columns`. Dropped, counted and named are lines that hold something else than
finite numbers, lines of a class that `data.yaml` does not have, and all but the first of equal lines in a file.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from storage.errors import SourceError
from storage.problems import Problems


class Line(NamedTuple):
    """One line of a label file."""

    image: int
    """Row of the image."""
    row: int
    """Line of the file, from 1."""
    category: int
    """Class as the file numbers it."""
    values: list[float]


def parse_lines(
    image: int, path: str, text: str, categories: Collection[int], problems: Problems
) -> list[Line]:
    """Return the lines of one label file that are sound numbers of a known class."""
    kept: list[Line] = []
    seen: set[str] = set()
    for row, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            category, values = _numbers(line)
        except SourceError as error:
            problems.add("malformed line (dropped)", f"{path}:{row}: {error}")
            continue
        if category not in categories:
            problems.add("unknown class (dropped)", f"{path}:{row}: class {category}")
        elif line in seen:
            problems.add("line twice (first kept)", f"{path}:{row}")
        else:
            kept.append(Line(image, row, category, values))
        seen.add(line)
    return kept


def _numbers(line: str) -> tuple[int, list[float]]:
    parts = line.split()
    try:
        category, values = int(float(parts[0])), [float(part) for part in parts[1:]]
    except (ValueError, OverflowError) as error:
        raise SourceError(f"expected a class index and numbers, got {error}") from None
    if float(parts[0]) != category or not all(map(math.isfinite, values)):
        raise SourceError(f"expected a class index and finite numbers, got {line.strip()}")
    return category, values
