"""A row of figures as a line of blocks, for a terminal and for a log.

In: numbers, in order. Out: as many letters as asked for at most, the least number lowest. Guaranteed: numbers that
are none (NaN, infinite) leave a gap; equal numbers lie in the middle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return the curve; where there are more values than letters, each letter is the mean of its stretch."""
    points = _means(values, width)
    finite = [point for point in points if math.isfinite(point)]
    if not finite:
        return " " * len(points)
    low, high = min(finite), max(finite)
    return "".join(_block(point, low, high) for point in points)


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return " "
    height = 0.5 if high == low else (value - low) / (high - low)
    return BLOCKS[min(int(height * len(BLOCKS)), len(BLOCKS) - 1)]


def _means(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [_mean(values[start:stop]) for start, stop in itertools.pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
