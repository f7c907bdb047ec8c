"""Worker processes that work for one parent and never outlive it.

In: how many. Out: an executor of fresh processes (spawned: no thread, lock or handle of the parent comes along),
which leave Ctrl-C to the parent and end when it ends, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait


def spawn_pool(workers: int, begin: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of this many processes; `begin` is called in each before its first task."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(begin,))


def _begin_worker(begin: Callable[[], None] | None) -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: an orphan must not go on writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if begin is not None:
        begin()
