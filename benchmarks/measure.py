"""How every benchmark is measured.

In: two functions that do the same work, ours and theirs. Out: a `Result`: the median CPU seconds of each over
interleaved runs in one process, and their ratio. CPU seconds count all threads of the process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One row of `benchmarks/results.json`."""

    name: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    """theirs / ours: how many times faster ours is."""
    bar: float
    """The ratio that is promised."""
    holds: bool


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    bar: float,
    runs: int = 5,
    scale: float = 1.0,
    unit: str = "CPU s",
) -> Result:
    """Return the comparison over `runs` interleaved runs, after one warm-up run of each.

    `scale` turns seconds of one run into the printed unit.
    """
    ours(), theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for function, measured in zip((ours, theirs), seconds, strict=True):
            start = time.process_time()
            function()
            measured.append(time.process_time() - start)
    our_median, their_median = (statistics.median(measured) * scale for measured in seconds)
    ratio = their_median / our_median
    return Result(
        name=name,
        unit=unit,
        ours=round(our_median, 6),
        theirs=round(their_median, 6),
        ratio=round(ratio, 2),
        bar=bar,
        holds=ratio >= bar,
    )
