"""`mixpl watch RUN`: how a run goes, in the terminal.

In: the folder of a run that trains, ended or was killed. Out: its curves, speed and time left, and in words what
is wrong; once (`--once`), or again and again until the run ends or Ctrl-C. On a terminal the picture is redrawn,
into a pipe it is printed as plain text whenever the run wrote something. Guaranteed: a run is only read; it neither
waits for this nor knows of it. Where the unlabeled images' truth is known, it is held against the teacher's last
labels.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import Any

import duckdb
import tyro
from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.online_quality import ClassPrecision, online_precision
from jobs.console.curves import sparkline
from jobs.console.plain_text import printable, raw
from jobs.console.run_warnings import warnings_of
from jobs.run.read_run import RunReader, RunView
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, InputError

FIGURES = ("AP", "AP50", "AP_tail")
JUDGE_EVERY = 10.0
"""Seconds at least between two looks at the truth."""
SPEED_OF = 5
"""Lines of metrics whose mean is the speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig:
    """Watch a run."""

    run: tyro.conf.Positional[str]
    """Folder of the run."""
    once: bool = False
    """Print it once and end; else go on until the run ends, or Ctrl-C."""
    every: float = 2.0
    """Seconds between two looks."""

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.every > 0:
            raise ConfigError(f"--every must be above 0 seconds, got {self.every}")


def watch(config: WatchConfig) -> None:
    """Show a run until it ends. Raises ConfigError where no run is."""
    reader, judge = RunReader(config.run), _Judge(config.run)
    view = reader.look()
    if config.once or view.state != "training":
        _print(view, judge)
    elif sys.stdout.isatty():
        _redraw(reader, judge, config.every)
    else:
        _follow(reader, judge, config.every)


def describe(view: RunView, precisions: Sequence[ClassPrecision] = ()) -> list[str]:
    """Return what there is to say of a run, line by line."""
    lines = [_headline(view)]
    if view.state == "stopped":
        lines.append(f"continue with `mixpl train {quote(view.path)}/config.json --resume`")
    lines.append("")
    if not view.lines:
        return [*lines, "no line of metrics yet"]
    curves = list(_curves(view))
    width = max(len(name) for name, _ in curves)
    lines += [_curve(name, values, width) for name, values in curves]
    return [
        *lines,
        *([""] if (warnings := warnings_of(view, precisions)) else []),
        *(f"! {text}" for text in warnings),
    ]


def _print(view: RunView, judge: _Judge) -> None:
    print("\n".join(describe(view, judge.precisions(view))))


def _follow(reader: RunReader, judge: _Judge, every: float) -> None:
    """Print a run whenever it wrote something, until it no longer trains."""
    told = None
    while True:
        view = reader.look()
        progress = (view.step, len(view.scorings), view.state)
        if progress != told:
            _print(view, judge)
            print(flush=True)
            told = progress
        if view.state != "training":
            return
        time.sleep(every)


def _redraw(reader: RunReader, judge: _Judge, every: float) -> None:
    """Draw a run over what was drawn before, until it no longer trains."""
    with Live(console=Console(file=raw(sys.stdout)), auto_refresh=False) as live:
        while True:
            view = reader.look()
            text = "\n".join(describe(view, judge.precisions(view)))
            live.update(Text(printable(text)), refresh=True)
            if view.state != "training":
                return
            time.sleep(every)


def _headline(view: RunView) -> str:
    of = f" of {view.steps:,}" if view.steps else ""
    said = f"{view.name} ({view.path}): {view.state}, step {view.step:,}{of}"
    speeds = [line["steps_per_second"] for line in view.lines[-SPEED_OF:] if line.get("steps_per_second")]
    if not speeds:
        return said
    speed = sum(speeds) / len(speeds)
    left = ""
    if view.state == "training" and view.steps:
        left = f", {timedelta(seconds=round((view.steps - view.step) / speed))} left"
    return f"{said}, {speed:.3g} steps/s{left}"


def _curves(view: RunView) -> Iterator[tuple[str, list[float]]]:
    """Yield the name and the values of each curve."""
    yield "loss", _values(view.lines, "loss")
    parts: dict[str, list[float]] = defaultdict(list)
    for line in view.lines:
        sums: dict[str, float] = defaultdict(float)
        for name, value in line.items():
            part, is_loss, _ = name.partition("_loss")
            if is_loss:
                sums[part] += value
        for part, total in sums.items():
            parts[part].append(total)
    for part, values in parts.items():
        yield f"  {part}", values
    for name, meaning in (("boxes_per_image", "boxes/image"), ("gradient_norm", "gradient")):
        if values := _values(view.lines, name):
            yield meaning, values
    yield "wait %", [100 * share for share in _values(view.lines, "wait_share")]
    for dataset in dict.fromkeys(line["dataset"] for line in view.scorings):
        scored = [line for line in view.scorings if line["dataset"] == dataset]
        for figure in FIGURES:
            if values := _values(scored, figure):
                yield f"{dataset} {figure}", values


def _values(lines: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(line[name]) for line in lines if isinstance(line.get(name), int | float)]


def _curve(name: str, values: Sequence[float], width: int) -> str:
    if not values:
        return f"{name:<{width}}"
    return (
        f"{name:<{width}}  {values[-1]:>8.4g}  {sparkline(values):<40}  "
        f"{min(values):.4g} to {max(values):.4g}"
    )


class _Judge:
    """Holds the teacher's last labels against the truth of the unlabeled images, where it is known."""

    def __init__(self, path: str) -> None:
        self._path, self._judged, self._precisions = path, -JUDGE_EVERY, list[ClassPrecision]()

    def precisions(self, view: RunView) -> list[ClassPrecision]:
        """Return the precision of every class; nothing where no truth is known."""
        root, threshold = view.asked("data", "unlabeled"), view.asked("pseudo", "score_threshold")
        if not isinstance(root, str) or not isinstance(threshold, int | float):
            return []
        if time.monotonic() - self._judged >= JUDGE_EVERY and any(
            Path(self._path).glob("online_labels/*.parquet")
        ):
            self._judged = time.monotonic()
            self._precisions = self._judge(root, threshold)
        return self._precisions

    def _judge(self, root: str, threshold: float) -> list[ClassPrecision]:
        try:
            dataset = Dataset.open(root)
            if not dataset.has_hidden_truth:
                return []
            with connect(Workspace(datasets=(dataset,), runs=(self._path,)), threads=1) as con:
                return online_precision(con, score_threshold=threshold)
        except (InputError, OSError, duckdb.Error):  # moved since, or written at this moment: the curves stay
            return []
