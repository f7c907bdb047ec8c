"""Stopping between two steps instead of in the middle of one.

In: Ctrl-C (SIGINT) or SIGTERM, as a spot machine sends it. Out: `requested`, which the loop asks after each step.
A second Ctrl-C stops at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit code of a verb that was stopped and can be continued, as shells expect it."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While entered, the first SIGINT or SIGTERM is only noted; outside the main thread it does nothing."""

    def __init__(self, *, under_torchrun: bool = False) -> None:
        """`under_torchrun`: SIGTERM may come twice, from whoever ends the job and passed on by torchrun.

        torchrun also sends it to all processes as soon as one has ended. A process that leaves with an error is
        not ended by it before it has said which; 30 s later torchrun sends SIGKILL.
        """
        self.requested = False
        self._under_torchrun = under_torchrun
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before and error is not None and self._under_torchrun:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        passed_on = self._under_torchrun and number == signal.SIGTERM
        if self.requested and not passed_on:
            raise KeyboardInterrupt
        self.requested = True
