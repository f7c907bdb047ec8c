"""What a training run tells: a bar, JSON lines, and label files, while it learns.

In: each step's report, on every rank. Out, written by the first one: `metrics.jsonl` (means over ranks
and over the `num_steps` steps since the last line; fewer after a resume: the steps from a killed run's last line to
its checkpoint stand in no line), a progress bar with the same figures, the teacher's pseudo labels every n-th step,
and, when an unsupervised loss is skipped, a sentence that says why. A resumed run's metrics and labels are cut back
to the step that it goes on from.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from analysis.coco_eval import Evaluation
from jobs.console.progress import Progress
from jobs.recipes.train_config import TrainConfig
from jobs.run.metrics import MetricsFile
from jobs.run.ranks import Ranks
from jobs.run.run_directory import RunDirectory
from jobs.run.step_report import StepReport
from jobs.run.step_tally import StepTally
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table


class RunLog:
    """Gathers step reports and writes them every `config.log.metrics` steps; other ranks than 0 send them."""

    def __init__(
        self,
        run: RunDirectory,
        config: TrainConfig,
        ranks: Ranks,
        start_step: int,
        provenance: Mapping[str, object],
    ) -> None:
        """`provenance` goes into every label file beside the run's name."""
        self._every, self._steps, self._ranks = config.log, config.steps, ranks
        self._provenance = {"run": run.name, "seed": config.seed, "arm": config.arm, **provenance}
        self._burn_in = 0 if config.arm == "supervised" else config.burn_in
        self._tally = StepTally()
        self._since = time.monotonic()
        self._labels = LabelStore(str(run.online_labels))
        self._file: MetricsFile | None = None
        self._progress: Progress | None = None
        if ranks.first:
            self._file = MetricsFile(run.metrics, start_step=start_step)
            self._progress = Progress(config.arm, total=config.steps, start=start_step)
            _drop_labels_after(run.online_labels, start_step)
        if start_step < self._burn_in:
            self.say(f"burn-in: no unsupervised loss before step {self._burn_in + 1}")

    def asks_for_batch(self, waiting: int) -> None:
        """Take note that a step asks for a batch while `waiting` finished ones are there."""
        if self._every.metrics:
            self._tally.figures["queue_depth"].append(waiting)

    def step(self, report: StepReport) -> None:
        """Take one step's report, after the step or, where nothing is due after it, during the next one."""
        if self._every.metrics:
            self._tally.add(report, burn_in=report.step < self._burn_in)
        if self._progress:
            self._progress.advance()
        done = report.step + 1
        if self._every.metrics and (done % self._every.metrics == 0 or done == self._steps):
            self._write_line(done, report)
        if self._every.online_labels and done % self._every.online_labels == 0:
            self._write_labels(done, report)

    def scored(self, step: int, dataset: str, result: Evaluation) -> None:
        """Take the figures of a scoring."""
        figures = {name: round(value, 3) for name, value in result.figures.items() if value == value}
        if self._file:
            self._file.write({"step": step, "dataset": dataset, **figures})
        shown = ", ".join(f"{name} {figures.get(name, 0):.1f}" for name in ("AP", "AP50", "AP_tail"))
        self.say(f"step {step}: {dataset} {shown} (teacher)")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count the time of the block to no step."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def say(self, text: str | None) -> None:
        """Print a line that stays; None prints nothing."""
        if self._progress and text is not None:
            self._progress.say(text)

    def _write_line(self, step: int, report: StepReport) -> None:
        self._tally.seconds = time.monotonic() - self._since
        tallies = self._ranks.gather(lambda: self._tally)
        joined = StepTally.join(tallies)
        row = {
            "step": step,
            "num_steps": self._tally.num_steps,
            "num_batches": joined.num_batches,
            **joined.means(),
            "learning_rate": report.learning_rate,
            **{f"threshold_{category}": value for category, value in enumerate(report.thresholds)},
            "steps_per_second": self._tally.num_steps / self._tally.seconds,
            "wait_share": joined.wait_share(),
            **(
                {"wait_share_worst": max(tally.wait_share() for tally in tallies)} if len(tallies) > 1 else {}
            ),
            **joined.counts(),
        }
        if self._file and self._progress:
            self._file.write({name: round(value, 6) for name, value in row.items()})
            self._progress.report(summary(row, joined.losses))
        unit = "steps" if joined.num_batches == joined.num_steps else "batches"
        for name, reason in joined.reasons.items():
            self.say(
                f"step {step}: {name} loss skipped in {joined.skipped[name]} of {joined.num_batches} {unit}; "
                f"last: {reason}"
            )
        self._tally = StepTally()
        self._since = time.monotonic()

    def _write_labels(self, step: int, report: StepReport) -> None:
        if any(batch_report.weak_labels is None for batch_report in report.batches):
            return  # on no rank: all begin with their unlabeled images at the same step
        tables = self._ranks.gather(lambda: pa.concat_tables(_online_labels(report)))
        if self._ranks.first:
            table = pa.concat_tables(tables)
            rows = unique_rows(tuple(table["key"].to_pylist()))
            self._labels.write(f"step-{step:09d}", table.take(rows), self._provenance)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.__exit__(kind, error, trace)
        if self._file:
            self._file.close()


def summary(row: Mapping[str, float], names: Iterable[str]) -> str:
    """Return a line of metrics for a person: losses summed by part, boxes, speed, and the share of waiting."""
    parts: dict[str, float] = defaultdict(float)
    for name in names:
        parts[name.split("_")[0]] += row[name]
    losses = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
    boxes = f"  boxes {row['boxes_per_image']:.1f}/image" if "boxes_per_image" in row else ""
    waited = row.get("wait_share_worst", row["wait_share"])
    data = f"  data {waited:.0%}".replace("%", " %") if waited >= 0.01 else ""
    return f"{losses}{boxes}  {row['steps_per_second']:.1f} steps/s{data}"


def _online_labels(report: StepReport) -> list[pa.Table]:
    tables = []
    for batch_report in report.batches:
        plan, weak_labels = batch_report.batch.plan, batch_report.weak_labels
        assert plan is not None
        assert weak_labels is not None
        labels = plan.original_labels(weak_labels)
        table = label_table(plan.keys, plan.image_ids_B, plan.weak.source_sizes_B2, labels, step=report.step)
        tables.append(table)
    return tables


def _drop_labels_after(folder: Path, step: int) -> None:
    """Remove the label files of steps that a killed run took and that are taken anew from `step` on."""
    for path in folder.glob("step-*.parquet"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()


def unique_rows(keys: tuple[str, ...]) -> list[int]:
    """Return the first place of every key: a data set smaller than a batch repeats its images."""
    return [place for place, key in enumerate(keys) if key not in keys[:place]]
