"""What a training run tells: a bar, JSON lines, and label files, while it learns.

In: each step's batch and report. Out: `metrics.jsonl` (means over the steps since the last line), a progress bar
with the same figures, the teacher's pseudo labels every n-th step, and, when an unsupervised loss is skipped, a
sentence that says why. A resumed run's metrics and labels are cut back to the step that it goes on from.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from analysis.coco_eval import Evaluation
from jobs.metrics import MetricsFile, Progress
from jobs.run_directory import RunDirectory
from jobs.train_config import TrainConfig
from jobs.trainer import StepReport
from pipeline.batch import TrainBatch
from storage.label_store import LabelStore, label_table


class RunLog:
    """Gathers step reports and writes them every `config.log.metrics` steps."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, *, start_step: int, provenance: Mapping[str, object]
    ) -> None:
        """`provenance` goes into every label file beside the run's name."""
        self._run, self._every, self._steps = run, config.log, config.steps
        self._provenance = {"run": run.name, "seed": config.seed, "arm": config.arm, **provenance}
        self._file = MetricsFile(run.metrics, start_step=start_step)
        self._progress = Progress(config.arm, total=config.steps, start=start_step)
        self._labels = LabelStore(str(run.online_labels))
        _drop_labels_after(run.online_labels, start_step)
        self._burn_in = 0 if config.arm == "supervised" else config.burn_in
        if start_step < self._burn_in:
            self.say(f"burn-in: no unsupervised loss before step {self._burn_in + 1}")
        self._losses: dict[str, list[float]] = defaultdict(list)
        self._figures: dict[str, list[float]] = defaultdict(list)
        self._skipped: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._since = time.monotonic()

    def step(self, batch: TrainBatch, report: StepReport) -> None:
        """Take one step's report."""
        self._gather(batch, report)
        self._progress.advance()
        done = batch.step + 1
        if self._every.metrics and (done % self._every.metrics == 0 or done == self._steps):
            self._write_line(done, batch, report)
        if self._every.online_labels and done % self._every.online_labels == 0:
            self._write_labels(done, batch, report)

    def scored(self, step: int, dataset: str, result: Evaluation) -> None:
        """Take the figures of a scoring."""
        figures = {name: round(value, 3) for name, value in result.figures.items() if value == value}
        self._file.write({"step": step, "dataset": dataset, **figures})
        self.say(
            f"step {step}: {dataset} AP {figures.get('AP', 0):.1f}, AP50 {figures.get('AP50', 0):.1f} (teacher)"
        )
        self._since = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._progress.say(text)

    def _gather(self, batch: TrainBatch, report: StepReport) -> None:
        for name, value in report.losses.items():
            self._losses[name].append(value)
        self._figures["loss"].append(sum(report.losses.values()))
        self._figures["gradient_norm"].append(report.gradient_norm)
        if batch.student is not None:
            self._figures["boxes_per_image"].append(report.boxes_per_image)
        for name, seconds in batch.timings.items():
            self._figures[f"seconds_{name}"].append(seconds)
        self._skipped.update(report.skipped.keys())
        self._skipped["burn_in"] += batch.step < self._burn_in
        self._reasons |= report.skipped

    def _write_line(self, step: int, batch: TrainBatch, report: StepReport) -> None:
        seconds = time.monotonic() - self._since
        num_steps = len(self._figures["loss"])
        means = {
            name: sum(values) / len(values) for name, values in {**self._figures, **self._losses}.items()
        }
        row = {
            "step": step,
            **means,
            "learning_rate": report.learning_rate,
            **{f"threshold_{category}": value for category, value in enumerate(report.thresholds)},
            "steps_per_second": num_steps / seconds,
            **{f"skipped_{name}_steps": count for name, count in self._skipped.items() if count},
            **{f"unreadable_{part}": count for part, count in batch.skipped.items()},
        }
        self._file.write({name: round(value, 6) for name, value in row.items()})
        self._progress.report(self._summary(means, num_steps / seconds))
        for name, reason in self._reasons.items():
            self.say(
                f"step {step}: {name} loss skipped in {self._skipped[name]} of {num_steps} steps; last: {reason}"
            )
        self._losses.clear()
        self._figures.clear()
        self._skipped.clear()
        self._reasons.clear()
        self._since = time.monotonic()

    def _summary(self, means: dict[str, float], rate: float) -> str:
        parts: dict[str, float] = defaultdict(float)
        for name in self._losses:
            parts[name.split("_")[0]] += means[name]
        losses = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        boxes = f"  boxes {means['boxes_per_image']:.1f}/image" if "boxes_per_image" in means else ""
        return f"{losses}{boxes}  {rate:.1f} steps/s"

    def _write_labels(self, step: int, batch: TrainBatch, report: StepReport) -> None:
        if report.weak_labels is None or batch.plan is None:
            return
        plan = batch.plan
        rows = unique_rows(plan.keys)
        labels = plan.original_labels(report.weak_labels)
        table = label_table(
            plan.keys, plan.image_ids_B, plan.weak.source_sizes_B2, labels, step=batch.step
        ).take(rows)
        self._labels.write(f"step-{step:09d}", table, self._provenance)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        self._file.close()


def _drop_labels_after(folder: Path, step: int) -> None:
    """Remove the label files of steps that a killed run took and that are taken anew from `step` on."""
    for path in folder.glob("step-*.parquet"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()


def unique_rows(keys: tuple[str, ...]) -> list[int]:
    """Return the first place of every key: a data set smaller than a batch repeats its images."""
    return [place for place, key in enumerate(keys) if key not in keys[:place]]
