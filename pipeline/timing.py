"""Where time goes in a process that shares its work with a device, and how much memory it has.

In: named blocks of code, or a piece of work. Out: seconds by name since the last reading; the seconds of the work
once the device has done it too; resident MiB.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


class Stopwatch:
    """Adds up the seconds spent in named blocks."""

    def __init__(self, *names: str) -> None:
        self._seconds = dict.fromkeys(names, 0.0)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - began

    def read(self) -> dict[str, float]:
        """Return the seconds of every name since the last reading, and start from zero."""
        seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return seconds


def timed(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Return what the work gives and the seconds until the device has done everything asked of it.

    On CUDA all streams are waited for, those of DALI too, before the work and after it.
    """
    finish(device)
    began = time.perf_counter()
    result = work()
    finish(device)
    return result, time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Wait until the device has done everything asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def resident_mib() -> float:
    """Return how much memory of this process lies in RAM."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    matched = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert matched is not None, "Linux tells the size of every process"
    return int(matched[1]) / 1024
