"""The figures of some steps, added up by each rank and joined when a line of metrics is due.

In: the report of each step. Out: means over all steps of all ranks, counts, reasons, and the share of
time that was spent waiting for data. Plain containers, so that a tally travels between processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.run.step_report import BatchReport, StepReport


def _lists() -> dict[str, list[float]]:
    return defaultdict(list)


@dataclass(kw_only=True, slots=True)
class StepTally:
    """What happened in the steps since the last line of metrics."""

    figures: dict[str, list[float]] = field(default_factory=_lists)
    losses: dict[str, list[float]] = field(default_factory=_lists)
    skipped: Counter[str] = field(default_factory=Counter)
    """Batches without a loss part, by part, and steps of the burn-in."""
    reasons: dict[str, str] = field(default_factory=dict)
    """The last reason by loss part."""
    unreadable: dict[str, frozenset[int]] = field(default_factory=dict)
    """Images set aside since the run began, by part, as rows of the image table: ranks meet the same ones."""
    waited: float = 0.0
    """Seconds that the steps waited for their batches."""
    seconds: float = 0.0
    """Seconds that all of it took; set when the tally is closed."""

    @property
    def num_steps(self) -> int:
        """Return the number of steps; those of all ranks in a joined tally."""
        return len(self.figures["gradient_norm"])

    @property
    def num_batches(self) -> int:
        """Return the number of batches: that of the steps, times those that are accumulated in each."""
        return len(self.figures["loss"])

    def add(self, report: StepReport, *, burn_in: bool) -> None:
        """Count one step."""
        for batch_report in report.batches:
            self._add_batch(batch_report)
        self.figures["gradient_norm"].append(report.gradient_norm)
        self.skipped["burn_in"] += burn_in

    def _add_batch(self, report: BatchReport) -> None:
        for name, value in report.losses.items():
            self.losses[name].append(value)
        self.figures["loss"].append(sum(report.losses.values()))
        if report.boxes_per_image is not None:
            self.figures["boxes_per_image"].append(report.boxes_per_image)
        for name, seconds in report.batch.timings.items():
            self.figures[f"seconds_{name}"].append(seconds)
        self.waited += report.batch.timings["wait"]
        self.skipped.update(report.skipped.keys())
        self.reasons |= report.skipped
        resume = report.batch.resume
        self.unreadable = {part: frozenset(resume[part]["left_out"]) for part in report.batch.num_unreadable}

    @classmethod
    def join(cls, tallies: Sequence[StepTally]) -> StepTally:
        """Return the tally of the steps of all ranks."""
        joined = cls()
        for tally in tallies:
            for name, values in tally.figures.items():
                joined.figures[name] += values
            for name, values in tally.losses.items():
                joined.losses[name] += values
            joined.skipped.update(tally.skipped)
            joined.reasons |= tally.reasons
            for part, rows in tally.unreadable.items():
                joined.unreadable[part] = joined.unreadable.get(part, frozenset()) | rows
            joined.waited += tally.waited
            joined.seconds += tally.seconds
        return joined

    def means(self) -> dict[str, float]:
        """Return the mean of every figure over the steps that have it."""
        return {name: sum(values) / len(values) for name, values in {**self.figures, **self.losses}.items()}

    def wait_share(self) -> float:
        """Return the share of time that was spent waiting for data."""
        return self.waited / self.seconds

    def counts(self) -> dict[str, int]:
        """Return how many steps had no loss of a part, and how many images were set aside."""
        return {
            **{f"skipped_{name}_steps": count for name, count in self.skipped.items() if count},
            **{f"unreadable_{part}": len(rows) for part, rows in self.unreadable.items()},
        }
