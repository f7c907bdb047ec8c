"""The scorings of a run's teacher on its test data: which was the best, and how many have not gained on it since.

In: RUN/best.pt and the tables that scorings leave in RUN/evaluations, and the figures of new ones. Out: whether a
scoring is the best so far, whose weights then become RUN/best.pt, and the steps of those that came after it.
Guaranteed: both follow from these files, so a resumed run needs no other state. The weights are written before the
table of their scoring: a kill between the two has the step scored again, and its figure does not gain on itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.inference.score import evaluation_path
from jobs.run import checkpoint
from jobs.run.run_directory import RunDirectory
from storage.dataset.dataset import Dataset

FIGURE = "AP"
"""What decides: the mean over classes and IoU 0.50 to 0.95, as COCO has it."""


@dataclass(kw_only=True, slots=True)
class Scorings:
    """The best scoring on a test set, and those since."""

    best_step: int | None = None
    """None before the first scoring that has a figure."""
    best: float = -math.inf
    """AP in percent."""
    since: set[int] = field(default_factory=set)
    """Steps of the scorings after the best one."""

    @classmethod
    def read(cls, run: RunDirectory, test: Dataset | None, *, until: int) -> Scorings:
        """Return what a run's folder holds of the scorings on `test` up to the step `until`, where it is resumed.

        Raises StoreError when RUN/best.pt is damaged.
        """
        if test is None or not run.best.exists():
            return cls()
        state = checkpoint.load(run.best)
        if state["dataset_hash"] != test.hash:
            return cls()
        later = {step for step in _scored_steps(run, test) if state["step"] < step <= until}
        return cls(best_step=state["step"], best=state[FIGURE], since=later)

    def is_best(self, ap: float) -> bool:
        """Return whether a figure gains on all before it; one that is NaN does not."""
        return ap > self.best

    def add(self, step: int, ap: float) -> None:
        """Take the figure of a scoring."""
        if self.is_best(ap):
            self.best_step, self.best, self.since = step, ap, set()
        elif self.best_step is not None and step > self.best_step:
            self.since.add(step)

    def describe(self, run: RunDirectory, test: Dataset) -> str | None:
        """Return one line: the best scoring, and where its weights are; None before the first."""
        if self.best_step is None:
            return None
        return f"best: step {self.best_step}, {test.name} {FIGURE} {self.best:.1f} (teacher): {run.best}"

    def save_best(self, run: RunDirectory, test: Dataset, state: dict[str, Any], *, ap: float) -> None:
        """Write the weights of the best scoring: a checkpoint to score and to label with, not to resume from."""
        checkpoint.write(run.best, {**state, FIGURE: ap, "dataset": test.name, "dataset_hash": test.hash})


def _scored_steps(run: RunDirectory, test: Dataset) -> Iterable[int]:
    first = Path(evaluation_path(run, dataset=test, weights="teacher", step=0))
    prefix = first.stem.rpartition("-")[0]
    for path in run.evaluations.glob("*.parquet"):
        name, _, step = path.stem.rpartition("-")
        if name == prefix and step.isdecimal():
            yield int(step)
