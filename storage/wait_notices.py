"""Who waits for a store is told on what: one line after the first seconds, and from time to time after.

In: requests, from when they are begun to when they are answered or given up. Out: a warning that names the
location, for how long and how often it was asked, the last failure, and when it will be given up. Guaranteed: one
line for all requests of the process at a time, however many threads wait; nothing where the store answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LOG = logging.getLogger(__name__)

SAY_AFTER, SAY_EVERY = 3.0, 15.0
"""Seconds until a request is named, and between two lines."""
LOOK_EVERY = 0.5


@dataclass(kw_only=True, slots=True, eq=False)
class Request:
    """One thing that is asked of a store, over all its tries."""

    what: str
    location: str
    deadline: float
    """Seconds after which no further try is made."""
    tries: int = 0
    """Tries that failed."""
    last_failure: str = "no answer yet"
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return how long it has been asked for."""
        return time.monotonic() - self.began

    def failed(self, error: Exception) -> None:
        """Note a try that failed."""
        self.tries += 1
        self.last_failure = describe(error)


class WaitNotices:
    """The requests of this process that have no answer yet; safe to share between threads."""

    def __init__(self) -> None:
        self._waiting: set[Request] = set()
        self._lock = threading.Lock()
        self._watching = False
        self._said = -SAY_EVERY

    @contextmanager
    def watch(self, request: Request) -> Iterator[None]:
        """Watch over a request while the block runs."""
        with self._lock:
            self._waiting.add(request)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._look, name="wait-notices", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(request)

    def _look(self) -> None:
        """Look at the requests from time to time; ends when none waits."""
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                if not self._waiting:
                    self._watching = False
                    return
                oldest, others = min(self._waiting, key=lambda one: one.began), len(self._waiting) - 1
            now = time.monotonic()
            if oldest.seconds >= SAY_AFTER and now - self._said >= SAY_EVERY:
                self._said = now
                LOG.warning("%s", _line(oldest, others))


WAITS = WaitNotices()


def describe(error: Exception) -> str:
    """Return an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _line(request: Request, others: int) -> str:
    tried = (
        f"{request.tries} tries failed, the last with {request.last_failure}"
        if request.tries
        else "no answer yet"
    )
    more = f" ({others} more requests wait)" if others else ""
    return (
        f"waiting for {request.location}, {request.what}, for {request.seconds:.0f} s: {tried}; given up after "
        f"{request.deadline:.0f} s{more}"
    )
