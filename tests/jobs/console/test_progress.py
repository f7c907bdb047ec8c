from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.console.progress import Progress

ROOT = Path(__file__).resolve().parents[3]
JOB = """
from jobs.console.progress import Progress
with Progress("train", total=3, start=1) as progress:
    progress.advance()
    progress.report("loss [0.5]")
    progress.say("burn-in is over")
    print("a line of the answer")
    {last}
"""


def run_on_terminal(last: str) -> tuple[str, str]:
    """Return what a job writes to its standard output, a pipe, and to its standard error, a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", JOB.format(last=last)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    return done.stdout.decode(), shown


def test_elsewhere_than_on_a_terminal_a_report_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", total=1000, start=2) as progress:
        for _ in range(500):
            progress.advance()
        progress.report("loss [0.5]")
        progress.say("burn-in is over")
    captured = capsys.readouterr()
    assert captured.err == "train 502/1000  loss [0.5]\nburn-in is over\n"
    assert captured.out == ""


def test_on_a_terminal_there_is_a_bar_with_the_figures_and_the_answer_goes_where_it_was_sent() -> None:
    answer, shown = run_on_terminal("pass")
    assert answer == "a line of the answer\n"
    for words in ("train", "2/3", "steps", "loss [0.5]", "burn-in is over"):
        assert words in shown
    assert "a line of the answer" not in shown


def test_a_fault_beside_the_bar_gives_the_cursor_back() -> None:
    _, shown = run_on_terminal("1 / 0")
    assert "ZeroDivisionError" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # shown after it was hidden
