"""`mixpl watch`: a run that trains, one that ended, one that was killed, and what is said to be wrong."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.online_quality import ClassPrecision
from jobs import cli
from jobs.console.run_warnings import warnings_of
from jobs.run.read_run import RunReader, RunView
from jobs.watch import describe
from storage.claims import locked

CONFIG = {
    "steps": 100,
    "log": {"metrics": 10},
    "pseudo": {"score_threshold": 0.7, "gate": "every_image"},
    "data": {"unlabeled": None},
}


def line(step: int, **others: Any) -> dict[str, Any]:
    row = {
        "step": step, "num_steps": 10, "loss": 100.0 / step, "supervised_loss_class": 1.0,
        "supervised_loss_box": 2.0, "gradient_norm": 1.0, "steps_per_second": 4.0, "wait_share": 0.01,
    }  # fmt: skip
    return row | others


def write_run(root: Path, rows: list[dict[str, Any]], tail: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps(CONFIG))
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return root


def view(rows: list[dict[str, Any]], scorings: tuple[dict[str, Any], ...] = ()) -> RunView:
    return RunView(name="r", path="runs/r", config=CONFIG, lines=rows, scorings=scorings, state="training")


def test_a_finished_run_is_shown_once_with_its_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line(step) for step in range(10, 101, 10)] + [{"step": 100, "dataset": "test", "AP": 40.0}]
    run = write_run(tmp_path / "mixpl", rows)
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert cli.run(["watch", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"mixpl ({run}): finished, step 100 of 100, 4 steps/s\n")
    assert "supervised" in said
    assert "test AP" in said
    assert "\x1b" not in said
    assert "!" not in said
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_killed_run_says_how_to_continue_and_its_cut_line_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mixpl", [line(10), line(20)], tail='{"step": 30, "lo')
    (run / ".lock").touch()  # a killed process leaves its file
    seen = RunReader(str(run)).look()
    assert (seen.state, seen.step) == ("stopped", 20)
    assert f"continue with `mixpl train {run}/config.json --resume`" in describe(seen)


def test_a_run_without_a_line_and_a_folder_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "mixpl", [])
    assert cli.run(["watch", str(run), "--once"]) == 0
    assert "no line of metrics yet" in capsys.readouterr().out
    assert cli.run(["watch", str(tmp_path)]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_what_is_appended_is_read_on_and_a_file_that_a_resume_wrote_anew_is_read_again(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "mixpl", [line(10)])
    reader = RunReader(str(run))
    assert reader.look().step == 10
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(line(20)) + "\n" + '{"step": 30')
        stream.flush()
        assert reader.look().step == 20
        stream.write(', "loss": 1}\n')
    assert [row["step"] for row in reader.look().lines] == [10, 20, 30]
    (run / "new").write_text(json.dumps(line(10)) + "\n")
    (run / "new").replace(run / "metrics.jsonl")
    assert [row["step"] for row in reader.look().lines] == [10]


def test_a_run_at_work_is_followed_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "mixpl", [line(80)])

    def train() -> None:
        with locked(str(run / ".lock"), command="mixpl train"):
            ready.set()
            time.sleep(0.5)
            with (run / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps(line(100)) + "\n")

    ready = threading.Event()
    thread = threading.Thread(target=train)
    thread.start()
    ready.wait()
    assert cli.run(["watch", str(run), "--every", "0.1"]) == 0
    thread.join()
    said = capsys.readouterr().out
    assert "training, step 80 of 100, 4 steps/s, 0:00:05 left" in said
    assert "finished, step 100 of 100" in said


def test_hostile_names_move_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a\x1b[31m", [line(10), {"step": 10, "dataset": "\x1b[2Jset", "AP": 1.0}])
    assert cli.run(["watch", str(run), "--once"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_closed_gate_is_said_in_percent_of_the_last_steps_with_what_to_change() -> None:
    open_ = [line(step, skipped_mixup_steps=1) for step in range(10, 301, 10)]
    assert warnings_of(view(open_)) == []
    closed = open_[:10] + [line(step, skipped_mixup_steps=8) for step in range(110, 311, 10)]
    (said,) = warnings_of(view(closed))
    assert said.startswith(
        "no mixup loss in 80 % of the last 200 steps: lower --pseudo.score-threshold (now 0.7), take "
        "--pseudo.gate any_image"
    )


@pytest.mark.parametrize(
    ("rows", "scorings", "words"),
    [
        ([line(10, wait_share=0.4)], (), "waits for data 40 %"),
        ([line(10, loss=float("nan"))], (), "loss was nan at step 10"),
        ([line(10, unreadable_unlabeled=3)], (), "3 unlabeled images could not be read"),
        (
            [line(10)],
            ({"step": 5, "dataset": "t", "AP": 50.0}, {"step": 10, "dataset": "t", "AP": 40.0}),
            "AP on t fell to 40.0 at step 10; it was 50.0 at step 5",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(
    rows: list[dict[str, Any]], scorings: tuple[dict[str, Any], ...], words: str
) -> None:
    (said,) = warnings_of(view(rows, scorings))
    assert words in said


def test_a_class_whose_labels_are_wrong_is_named() -> None:
    precisions = [
        ClassPrecision(name="disk", pseudo_labels=20, correct=10),
        ClassPrecision(name="ring", pseudo_labels=20, correct=9),
        ClassPrecision(name="star", pseudo_labels=9, correct=0),
    ]
    (said,) = warnings_of(view([line(10)]), precisions)
    assert said.startswith("precision of class ring fell below 0.5: 9 of its last 20 pseudo labels are right")
