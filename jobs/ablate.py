"""`mixpl ablate GRID`: a declared grid of training runs, and what it says.

In: a grid (`jobs/ablation/grid.py`), by name or as a TOML file. Out, in one folder: a run of `mixpl train` for
every cell and seed; `ablation.parquet`, a row a figure of a run; `summary.parquet`, mean ± standard deviation and
paired differences with their 95 % confidence intervals; `ablation.png`. Stopped at any moment, the same command
goes on: finished runs are not done again, interrupted ones continue.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from shlex import join

import pyarrow as pa
import tyro

from analysis.ablation import summarise
from analysis.figures.ablation_plot import draw_ablation
from jobs.ablation.grid import GRIDS, Grid, read_grid
from jobs.ablation.results import results_table
from jobs.ablation.run_grid import GridRun, run_all
from jobs.cli import parse
from jobs.console.print_table import print_table
from jobs.recipes.train_config import TrainConfig
from jobs.run.interrupt import INTERRUPTED
from storage import files
from storage.errors import ConfigError
from storage.tables.parquet import write_parquet

METRICS = ("AP", "AP50", "AP_tail")


@dataclass(frozen=True, kw_only=True, slots=True)
class AblateConfig:
    """Run a grid."""

    grid: tyro.conf.Positional[str] = ""
    """A grid's name or a .toml file; left out: the grids that have a name are listed."""
    out: str | None = None
    """Folder of the runs and of what they say; left out: ablations/NAME."""
    jobs: int = 1
    """Runs side by side; with GPUs each takes one, in turn."""
    recipe: str | None = None
    """Recipe or config.json in place of the grid's own."""
    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """key=value of `mixpl train` for all runs, such as data.test=data/val; may be given again. Stands above the
    grid's. Numbers, lists, true and false as JSON."""
    seeds: tuple[int, ...] = ()
    """Seeds in place of the grid's own."""
    dry_run: bool = False
    """Print the command of every run and train nothing."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.jobs < 1:
            raise ConfigError(f"--jobs must be at least 1, got {self.jobs}")


def ablate(config: AblateConfig) -> int:
    """Run the grid and print what it says; return 0, 1 when a run failed, 130 when it can be continued.

    Raises ConfigError for a grid or an option that cannot be, before anything is trained.
    """
    if not config.grid:
        _list_grids()
        return 0
    grid = _asked_grid(config)
    out = config.out or files.join("ablations", Path(config.grid).stem)
    runs = [_grid_run(grid, number, seed, out) for number in range(len(grid.cells)) for seed in grid.seeds]
    if config.dry_run:
        for run in runs:
            print(f"mixpl train {join(run.arguments)}")
        return 0
    failed, interrupted = run_all(runs, jobs=config.jobs)
    results = results_table(grid, out, {run.name: run.steps for run in runs})
    write_parquet(files.join(out, "ablation.parquet"), results)
    _tell(grid, out, results, total=len(runs))
    if interrupted:
        print("stopped; the same command goes on")
        return INTERRUPTED
    return 1 if failed else 0


def _asked_grid(config: AblateConfig) -> Grid:
    options = {}
    for text in config.option:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"expected --option key=value, got {text!r}")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return read_grid(config.grid, recipe=config.recipe, options=options, seeds=config.seeds)


def _grid_run(grid: Grid, number: int, seed: int, out: str) -> GridRun:
    """Return a run whose options `mixpl train` takes."""
    cell = grid.cells[number]
    arguments = grid.arguments(cell, seed, out)
    try:
        _, config = parse("train", arguments)
    except SystemExit:
        raise ConfigError(f"cell {cell.name} cannot be trained: mixpl train {join(arguments)}") from None
    assert isinstance(config, TrainConfig)
    if config.data.test is None:
        raise ConfigError(
            f"expected data.test, the shards that every run is scored on, got none for cell {cell.name}; add it to "
            "[options], or give --option data.test=FOLDER"
        )
    return GridRun(
        name=cell.run(seed),
        arguments=tuple(arguments),
        root=config.out,
        steps=config.steps,
    )


def _tell(grid: Grid, out: str, results: pa.Table, *, total: int) -> None:
    references = {cell.name: cell.reference for cell in grid.cells}
    summary = summarise(results, references=references, metrics=METRICS)
    write_parquet(files.join(out, "summary.parquet"), summary)
    draw_ablation(files.join(out, "ablation.png"), results, summary, metric=METRICS[0])
    done = len(set(results["run"].to_pylist()))
    print_table(_readable(summary), f"{done} of {total} runs; paired differences with 95 % intervals")
    table = files.join(out, "ablation.parquet")
    print(f"{table}, summary.parquet and ablation.png: mixpl sql \"from '{table}'\"")


def _readable(summary: pa.Table) -> pa.Table:
    rows = summary.to_pylist()
    texts = {
        "mean": [_with_spread(row["mean"], row["deviation"]) for row in rows],
        "difference": [_with_interval(row) for row in rows],
    }
    return pa.table(
        {
            "cell": summary["cell"],
            "metric": summary["metric"],
            "runs": summary["runs"],
            "mean": texts["mean"],
            "difference": texts["difference"],
            "from": [row["reference"] if row["pairs"] is not None else None for row in rows],
        }
    )


def _with_spread(mean: float | None, deviation: float | None) -> str | None:
    if mean is None:
        return None
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _with_interval(row: dict[str, float | None]) -> str | None:
    if row["difference"] is None:
        return None
    if row["low"] is None:
        return f"{row['difference']:+.1f}"
    return f"{row['difference']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"


def _list_grids() -> None:
    for path in sorted(GRIDS.glob("*.toml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        print(f"{path.stem:<18}{first.removeprefix('# ')}")
    print("\nFor example: mixpl ablate components --option data.test=data/val --jobs 4")
