"""One background thread that works ahead of its consumer, and never leaves it waiting in silence.

In: a function that makes an iterator. Out: its items, in order, up to `depth` of them made ahead. Everything
that the iterator owns is made, used and closed in the one thread. An error there is raised here, at the
point of the sequence where it happened; a thread that is gone without one is an error too; `close` ends the thread
whatever it waits for.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from storage.errors import ConfigError

T = TypeVar("T")
LOG = logging.getLogger(__name__)

_LOOK_EVERY = 0.2
"""Seconds between two looks at whether the other side is still there."""
_SAY_EVERY = 60.0
"""Seconds of waiting for one item after which the log says so."""
_CLOSE_WITHIN = 60.0
"""Seconds that the item under way may take to finish."""


class _End:
    """The last thing in a queue: the iterator ended, or failed with `error`."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Background(Generic[T]):
    """The items of a generator that runs in a thread of its own."""

    def __init__(self, make: Callable[[], Generator[T]], *, depth: int, name: str) -> None:
        """Start at once. `make` must not refer to the owner of this object, or neither is ever collected."""
        if depth < 1:
            raise ConfigError(f"at least one item must be made ahead; got prefetch {depth}")
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._end: _End | None = None
        self._thread = threading.Thread(
            target=_work, args=(make, self._queue, self._stop), name=name, daemon=True
        )
        self._finalizer = weakref.finalize(self, _finish, self._thread, self._queue, self._stop)
        # At interpreter exit the thread must be gone before DALI's own exit hook finds pipelines at work. The
        # hook registered last runs first, so it is registered now and not by the first `finalize` of all.
        self._finalizer.atexit = False
        atexit.register(self._finalizer)
        self._thread.start()

    def get(self) -> T:
        """Return the next item.

        Raises StopIteration at the end, the generator's own error where it failed, and RuntimeError when the
        thread is gone or the object is closed. After the end or an error, every further call raises it again.
        """
        began, next_report = time.monotonic(), _SAY_EVERY
        while self._end is None:
            if self._stop.is_set():
                raise RuntimeError("asked for an item of a loader that is closed")
            try:
                item = self._queue.get(timeout=_LOOK_EVERY)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    self._end = _End(RuntimeError(f"the thread {self._thread.name!r} ended without a word"))
                elif time.monotonic() - began > next_report:
                    LOG.warning(
                        "waited %.0f s for %s, which still runs", time.monotonic() - began, self._thread.name
                    )
                    next_report += _SAY_EVERY
                continue
            if not isinstance(item, _End):
                return item  # type: ignore[no-any-return]
            self._end = item
        raise self._end.error or StopIteration

    def waiting(self) -> int:
        """Return how many items are ready."""
        return self._queue.qsize()

    def close(self) -> None:
        """End the thread and drop what it made ahead; may be called again."""
        self._finalizer()
        atexit.unregister(self._finalizer)


def _work(make: Callable[[], Generator[Any]], items: queue.Queue[Any], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        generator = make()
        try:
            for item in generator:
                if not _put(items, item, stop):
                    break
        finally:
            generator.close()
    except BaseException as caught:  # the consumer raises it
        error = caught
    _put(items, _End(error), stop)


def _put(items: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            items.put(item, timeout=_LOOK_EVERY)
        except queue.Full:
            continue
        return True
    return False


def _finish(thread: threading.Thread, items: queue.Queue[Any], stop: threading.Event) -> None:
    stop.set()
    if thread is threading.current_thread():  # collected by its own garbage collection
        return
    deadline = time.monotonic() + _CLOSE_WITHIN
    while thread.is_alive() and time.monotonic() < deadline:
        while not items.empty():
            try:
                items.get_nowait()
            except queue.Empty:
                break
        thread.join(timeout=_LOOK_EVERY)
