"""How every benchmark is measured.

In: functions that do the same work, ours and theirs. Out: a `Result`. Times are the median CPU seconds over
interleaved runs in one process, and count all threads of it: on more cores, or beside other work, they stay what
they are. Memory is the peak of a process of its own, its interpreter and libraries included.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One row of `benchmarks/results.json`."""

    name: str
    unit: str
    ours: float
    theirs: float | None
    """None where nothing stands beside it."""
    ratio: float | None
    """theirs / ours: how many times faster, or leaner, ours is."""
    bar: str
    """What is promised: a ratio at least, or an amount at most."""
    holds: bool | None
    """None where the alternative could not be run."""


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
    timed = [partial(cpu_seconds, function) for function in (ours, theirs)]
    return compare_timed(name, timed[0], timed[1], bar=bar, runs=runs, scale=scale, unit=unit)


def compare_timed(
    name: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    bar: float,
    runs: int = 5,
    scale: float = 1.0,
    unit: str = "CPU s",
) -> Result:
    """Do the same with functions that return the seconds they took, such as those of another process."""
    ours(), theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for function, measured in zip((ours, theirs), seconds, strict=True):
            measured.append(function())
    our_median, their_median = (statistics.median(measured) * scale for measured in seconds)
    return beside(name, our_median, their_median, bar=bar, unit=unit)


def beside(name: str, ours: float, theirs: float, *, bar: float, unit: str) -> Result:
    """Return the comparison of two amounts: theirs is promised to be `bar` times ours, or more."""
    ratio = theirs / ours
    return Result(
        name=name,
        unit=unit,
        ours=round(ours, 6),
        theirs=round(theirs, 6),
        ratio=round(ratio, 2),
        bar=f">= {bar:g} x",
        holds=ratio >= bar,
    )


def at_most(name: str, ours: float, *, bar: float, unit: str, theirs: float | None = None) -> Result:
    """Return an amount that is promised not to exceed `bar`; `theirs` is shown beside it and promises nothing."""
    return Result(
        name=name,
        unit=unit,
        ours=round(ours, 6),
        theirs=None if theirs is None else round(theirs, 6),
        ratio=None if theirs is None else round(theirs / ours, 2),
        bar=f"<= {bar:g}",
        holds=ours <= bar,
    )


def not_run(name: str, why: str, *, unit: str, ours: float) -> Result:
    """Return an amount of ours whose alternative could not be run here."""
    return Result(
        name=name,
        unit=unit,
        ours=round(ours, 6),
        theirs=None,
        ratio=None,
        bar=f"not run: {why}",
        holds=None,
    )


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, over all threads."""
    start = time.process_time()
    function()
    return time.process_time() - start


def in_child(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> tuple[T, float]:
    """Return what a function of a module gives in a fresh process, and the peak memory of that process in MiB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments, **named).result(), pool.submit(_peak_mib).result()


def _peak_mib() -> float:
    """Return the high-water mark of this process; that of getrusage would begin with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    matched = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert matched is not None, "Linux tells the peak of every process"
    return int(matched[1]) / 1024
