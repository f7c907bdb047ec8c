"""The background thread: items in order, errors at their place, and an end whatever happens."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Generator
from functools import partial

import pytest

from pipeline.loaders.background import Background
from storage.errors import ConfigError


def numbers(stop: int, closed: threading.Event | None = None) -> Generator[int]:
    try:
        yield from range(stop)
    finally:
        if closed is not None:
            closed.set()


def failing() -> Generator[int]:
    yield 1
    raise ValueError("the third image is bad")


def drain(background: Background[int]) -> list[int]:
    return list(iter(partial(_get_or_none, background), None))  # type: ignore[arg-type]


def _get_or_none(background: Background[int]) -> int | None:
    try:
        return background.get()
    except StopIteration:
        return None


@pytest.mark.parametrize("depth", [1, 3])
def test_items_come_in_order_and_the_end_stays_the_end(depth: int) -> None:
    background = Background(partial(numbers, 20), depth=depth, name="numbers")
    assert drain(background) == list(range(20))
    with pytest.raises(StopIteration):
        background.get()


def test_an_error_is_raised_at_its_place_and_again_afterwards() -> None:
    background = Background(failing, depth=2, name="failing")
    assert background.get() == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="third image"):
            background.get()


def test_an_error_before_the_first_item_is_raised() -> None:
    def broken() -> Generator[int]:
        raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        Background(broken, depth=1, name="broken").get()


def test_no_more_than_the_depth_and_one_are_made_ahead() -> None:
    made = itertools.count()
    background = Background(lambda: (next(made) for _ in range(100)), depth=2, name="counting")
    deadline = time.monotonic() + 5
    while background.waiting() < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert next(made) == 3
    background.close()


def test_close_ends_a_thread_that_waits_for_its_consumer_and_closes_the_generator() -> None:
    closed = threading.Event()
    background = Background(partial(numbers, 1000, closed), depth=1, name="endless")
    assert background.get() == 0
    began = time.monotonic()
    background.close()
    assert time.monotonic() - began < 2
    assert closed.is_set()
    assert "endless" not in [thread.name for thread in threading.enumerate()]
    background.close()
    with pytest.raises(RuntimeError, match="closed"):
        background.get()


def test_an_abandoned_object_takes_its_thread_with_it() -> None:
    closed = threading.Event()
    background = Background(partial(numbers, 1000, closed), depth=1, name="abandoned")
    assert background.get() == 0
    del background
    gc.collect()
    assert closed.wait(5)


def test_a_depth_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="prefetch 0"):
        Background(partial(numbers, 1), depth=0, name="numbers")
