"""How far a job is: a bar for a person, a line now and then for a log.

In: counts of finished work, and now and then its figures. Out, on standard error: on a terminal a bar with the
latest figures; elsewhere one line for each report and no control character.
"""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jobs.console.plain_text import printable, raw

REDRAWN_PER_SECOND = 2
"""Often enough for a person, and no work beside a training step."""


class Progress:
    """A bar on a terminal; elsewhere one line for every `report`."""

    def __init__(
        self, name: str, *, total: int, start: int = 0, unit: str = "steps", transient: bool = False
    ) -> None:
        """`start`: what an earlier run has done. `transient`: the bar goes when the work is done."""
        self._name, self._done, self._total = name, float(start), total
        self._on_terminal = sys.stderr.isatty()
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit, markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=Console(file=raw(sys.stderr)),
            refresh_per_second=REDRAWN_PER_SECOND,
            transient=transient,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file must not go through the terminal
            disable=not self._on_terminal,
        )
        self._task = self._bar.add_task(name, total=total, completed=start, figures="")
        self._bar.start()

    def advance(self, count: float = 1) -> None:
        """Count finished work."""
        self._done += count
        self._bar.advance(self._task, count)

    def report(self, text: str) -> None:
        """Show the latest figures."""
        if self._on_terminal:
            self._bar.update(self._task, figures=printable(text))
        else:
            self.say(f"{self._name} {self._done:.0f}/{self._total}  {text}")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._on_terminal:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            print(printable(text), file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
