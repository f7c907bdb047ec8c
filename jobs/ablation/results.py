"""What the runs of a grid reached, as one table.

In: the folders of runs. Out: their last scores; a table with a row a figure of a run, that SQL reads. Guaranteed:
only a run that has a score of its last step counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.coco_eval import EVALUATION_SCHEMA
from jobs.ablation.grid import Grid
from jobs.run.run_directory import RunDirectory
from storage import files
from storage.errors import ConfigError


def last_score(root: str, steps: int) -> dict[str, float] | None:
    """Return the figures over all classes of a run's last step; None where it has none."""
    table = _last_table(root, steps)
    if table is None:
        return None
    whole = table.filter(pc.is_null(table["class"]))
    return dict(zip(whole["metric"].to_pylist(), whole["value"].to_pylist(), strict=True))


def require_same_run(root: str, arguments: Sequence[str]) -> None:
    """Raise ConfigError where a folder holds a run that was asked for by other options."""
    origin = Path(root) / "origin.json"
    if not origin.exists():
        return
    try:
        before = json.loads(origin.read_text(encoding="utf-8"))["arguments"][2:]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"expected what a run was asked for, got no such JSON: {origin}; remove the run"
        ) from None
    before = [argument for argument in before if argument != "--resume"]
    if before != list(arguments):
        changed = [text for text in [*before, *arguments] if text not in before or text not in arguments]
        raise ConfigError(
            f"expected the run of this grid in {root}, got one of other options ({' '.join(changed)}); remove it, "
            "or name another --out"
        )


def results_table(grid: Grid, out: str, steps: dict[str, int]) -> pa.Table:
    """Return a row a figure of a run: run, cell, a column an axis, seed, dataset, step, class, metric, value.

    `steps` are those of each run, by its name.
    """
    tables = []
    for cell in grid.cells:
        for seed in grid.seeds:
            run = cell.run(seed)
            table = _last_table(files.join(out, run), steps[run])
            if table is not None:
                constants = {"run": run, "cell": cell.name, **cell.values, "seed": seed}
                tables.append(_with_constants(table, constants))
    return pa.concat_tables(tables) if tables else _empty(grid)


def _with_constants(table: pa.Table, constants: dict[str, Any]) -> pa.Table:
    columns = {name: pa.array([value] * len(table)) for name, value in constants.items()}
    rest = {name: table[name] for name in ("dataset", "step", "class", "metric", "value")}
    return pa.table(columns | rest)


def _empty(grid: Grid) -> pa.Table:
    schema = [(name, pa.string()) for name in ("run", "cell", *grid.axes)] + [("seed", pa.int64())]
    figures = [("dataset", pa.string()), ("step", pa.int64()), *EVALUATION_SCHEMA]
    return pa.schema([*schema, *figures]).empty_table()


def _last_table(root: str, steps: int) -> pa.Table | None:
    """Return the teacher's score after the last step."""
    pattern = f"*-teacher-step-{steps:09d}.parquet"
    paths = sorted(RunDirectory(root).evaluations.glob(pattern))
    return pq.read_table(paths[0]) if paths else None
