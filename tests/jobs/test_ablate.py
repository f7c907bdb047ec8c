"""`mixpl ablate`: a grid of 2 x 2 runs is interrupted, goes on, and is summed up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from jobs.ablation.results import last_score

GRID = """
recipe = "tiny"
[options]
steps = 12
burn-in = 1
"data.labeled" = "{drawn}/labeled"
"data.unlabeled" = "{drawn}/unlabeled"
"data.test" = "{drawn}/test"
"log.checkpoint" = 4
"log.metrics" = 1
"log.evaluate" = 0
[axes.mixing.off]
arm = "mean-teacher"
[axes.mixing.on]
[axes]
"resampling.threshold" = [0, 0.3]
"""


def wait_until(condition, *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.timeout(600)  # five trainings, each in a process of its own
def test_a_grid_of_four_runs_is_interrupted_and_goes_on(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, out = tmp_path / "grid.toml", tmp_path / "runs"
    grid.write_text(GRID.format(drawn=drawn))
    command = ["ablate", str(grid), "--out", str(out)]
    first, second = (out / f"mixing=off,threshold={value},seed=0" for value in ("0", "0.3"))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *command], stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: list(second.glob("metrics.jsonl")) and (second / "metrics.jsonl").read_text())
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert last_score(str(first), 12) is not None
    untouched = (first / "metrics.jsonl").stat().st_mtime_ns

    assert cli.run([*command, "--jobs", "2"]) == 0
    printed = capsys.readouterr()
    assert "4 of 4 runs" in printed.out
    assert (first / "metrics.jsonl").stat().st_mtime_ns == untouched
    log = Path(f"{second}.log").read_text()
    assert "stopped after step" in log
    table = pq.read_table(out / "ablation.parquet").to_pylist()
    assert {(row["mixing"], row["resampling.threshold"]) for row in table} == {
        ("off", "0"), ("off", "0.3"), ("on", "0"), ("on", "0.3"),
    }  # fmt: skip
    assert {row["step"] for row in table} == {12}
    summary = pq.read_table(out / "summary.parquet").to_pylist()
    assert [row["runs"] for row in summary if row["metric"] == "AP"] == [1, 1, 1, 1]
    assert (out / "ablation.png").read_bytes().startswith(b"\x89PNG")

    capsys.readouterr()
    query = f"select count(distinct run) n from '{out}/ablation.parquet'"
    assert cli.run(["sql", query, "--root", str(tmp_path), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "4"

    grid.write_text(grid.read_text().replace("steps = 12", "steps = 4"))
    assert cli.run(command) == 2
    assert "got one of other options" in capsys.readouterr().err


def test_what_train_would_refuse_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text('recipe = "tiny"\n[axes]\n"mix.mixap" = [1]\n')
    assert cli.run(["ablate", str(grid), "--out", str(tmp_path / "out")]) == 2
    assert "cell 1 cannot be trained" in capsys.readouterr().err
    grid.write_text('recipe = "tiny"\n[axes]\nsteps = [1]\n')
    assert cli.run(["ablate", str(grid), "--out", str(tmp_path / "out")]) == 2
    assert "expected data.test" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_grids_that_have_a_name_are_listed_and_their_commands_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["ablate"]) == 0
    assert "components " in capsys.readouterr().out
    assert cli.run(["ablate", "components", "--dry-run", "--option", "data.test=data/val"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 18
    assert lines[3].startswith("mixpl train coco-partial --mix.no-mosaic --data.test data/val")
