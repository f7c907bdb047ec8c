"""Seconds by name, seconds of a piece of work, and the size of the process."""

from __future__ import annotations

import mmap
import time

import torch

from pipeline.timing import Stopwatch, resident_mib, timed


def test_a_stopwatch_adds_up_by_name_and_starts_again_when_read() -> None:
    watch = Stopwatch("read", "views")
    for _ in range(2):
        with watch.measure("read"):
            time.sleep(0.01)
    first, second = watch.read(), watch.read()
    assert 0.02 <= first["read"] < 1
    assert first["views"] == 0
    assert second == {"read": 0, "views": 0}


def test_a_piece_of_work_is_timed_and_its_result_given() -> None:
    def work() -> str:
        time.sleep(0.01)
        return "done"

    result, seconds = timed(work, torch.device("cpu"))
    assert result == "done"
    assert 0.01 <= seconds < 1


def test_the_resident_size_grows_by_what_is_allocated_and_written() -> None:
    before = resident_mib()
    with mmap.mmap(-1, 100 * 2**20) as held:  # new pages, whatever holes the heap of this process has
        held.write(b"1" * (100 * 2**20))
        assert 90 < resident_mib() - before < 150
