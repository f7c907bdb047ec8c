from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.run.metrics import MetricsFile


def test_a_resumed_run_writes_no_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, start_step=0)
    for step in (10, 20, 30):
        first.write({"step": step, "loss": 1.0})
    first.close()
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # killed in the middle of a line
    resumed = MetricsFile(path, start_step=20)
    resumed.write({"step": 30, "loss": 2.0})
    resumed.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_line_that_lost_only_its_end_is_not_joined_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}')
    resumed = MetricsFile(path, start_step=10)
    resumed.write({"step": 20})
    resumed.close()
    assert path.read_text() == '{"step": 10}\n{"step": 20}\n'


def test_a_full_disk_names_the_file_of_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "jobs.run.metrics._drop_steps_after", lambda *_: None
    )  # /dev/full can be read for ever
    full = MetricsFile(Path("/dev/full"), start_step=0)
    with pytest.raises(OSError, match=r"no space left to write it; make room.*'/dev/full'"):
        full.write({"step": 10})
    with pytest.raises(OSError, match="/dev/full"):
        full.close()
