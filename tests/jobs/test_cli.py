"""The one door: every verb has help, and mistakes are answered in one line."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jobs.catalog
from jobs.cli import VERBS, main, run
from storage.errors import ConfigError, RunStoppedError, SourceError, StoreError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_a_meaning_for_every_option(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run([verb, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: mixpl {verb}" in printed
    assert VERBS[verb].meaning.split(",")[0].split(":")[0][:20] in printed


def test_the_list_of_verbs_is_that_of_the_files_and_of_the_readme() -> None:
    files = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    assert files - {"cli", "__init__"} == set(VERBS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `mixpl (\w+)` \|", readme, re.MULTILINE) == list(VERBS)


def test_a_verb_is_imported_only_when_it_is_asked_for() -> None:
    code = "import sys, jobs.cli; jobs.cli.run([]); print([m for m in sys.modules if m.startswith('jobs.')])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = set(ast.literal_eval(printed.splitlines()[-1]))
    assert not modules & {f"jobs.{verb}" for verb in VERBS}


def test_the_bare_command_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    printed = capsys.readouterr().out
    assert all(verb.meaning in printed for verb in VERBS.values())


def test_a_misspelt_verb_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tarin"]) == 2
    assert capsys.readouterr().err == "mixpl tarin: unknown verb; did you mean `mixpl train`?\n"


def test_a_misspelt_option_is_named_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["train", "tiny", "--optim.lrr", "0.1"])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert "--optim.lrr" in said.out + said.err
    assert "--optim.lr" in (said.out + said.err).replace("--optim.lrr", "")


def test_a_wrong_type_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["train", "tiny", "--steps", "many"])
    said = capsys.readouterr()
    assert "--steps" in said.out + said.err


def test_an_error_of_the_outside_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(tmp_path / "run"), "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mixpl eval: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option", "least"),
    [
        ("train tiny", "--steps", 1),
        ("profile tiny", "--data.prefetch", 1),
        ("preview tiny", "--step", 0),
        ("eval run --data data", "--batch", 1),
        ("label run --data data", "--threads", 1),
        ("export labels --format coco --out out", "--round", 1),
        ("verify data", "--named", 1),
        ("synth out", "--workers", 0),
    ],
)
def test_a_value_out_of_range_names_its_option(
    command: str, option: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), f"{option}={least - 1}"])
    assert left.value.code == 2
    assert f"{option} must be at least {least}, got {least - 1}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("expected this, got that"),
        SourceError("expected this, got that"),
        StoreError("expected this, got that"),
        RunStoppedError("expected this, got that"),
        FileNotFoundError(2, "No such file or directory", "tables/here"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_answers_the_user_is_one_line_and_exit_code_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(jobs.catalog, "discover", fail)
    assert run(["catalog", "out.duckdb"]) == 2
    assert capsys.readouterr().err == f"mixpl catalog: {error}\n"


def test_a_file_in_place_of_a_folder_is_one_line_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["catalog", str(tmp_path / "file" / "out.duckdb"), "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_a_file_that_the_disk_does_not_take_is_one_line_with_its_path(tmp_path: Path) -> None:
    answer = tmp_path / "answer.csv"
    query = ["sql", "from range(100_000)", "--format", "csv", "--output", str(answer)]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    code = f"{limit}; import jobs.cli; jobs.cli.main({query})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"mixpl sql: [Errno 27] File too large: '{answer}'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda *_: list(zip([1], [1, 2], strict=True)),
        lambda *_: np.zeros(2) + np.zeros(3),
        lambda *_: (_ for _ in ()).throw(OSError("no path in it")),
    ],
    ids=["zip", "numpy", "an OSError without a path"],
)
def test_a_fault_of_ours_keeps_its_traceback(
    fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.catalog, "discover", fault)
    with pytest.raises((ValueError, OSError), match=r"zip|broadcast|no path in it") as caught:
        run(["catalog", "out.duckdb"])
    assert caught.traceback[-1].path == Path(__file__)


def test_ctrl_c_while_duckdb_works_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise RuntimeError("Query interrupted")  # as DuckDB 2.0.0 does where Ctrl-C meets it at work

    monkeypatch.setattr(jobs.catalog, "discover", interrupted)
    assert run(["catalog", "somewhere.duckdb"]) == 130
    assert capsys.readouterr().err == "mixpl catalog: interrupted; run the same command again\n"


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    command = f"{sys.executable} -m jobs.cli sql 'from range(1_000_000)' --format csv | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ('"range"\n', "")


def test_ctrl_c_during_the_first_imports_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tyro.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "sql"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "mixpl: interrupted\n")
