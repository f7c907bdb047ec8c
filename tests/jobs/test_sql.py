"""`mixpl sql`: every format, one-line errors, nothing changed on disk."""

from __future__ import annotations

import csv
import json
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import cli
from jobs.console import questions, sql_shell
from jobs.console.print_table import MAX_ROWS_SHOWN
from jobs.console.sql_shell import shell
from jobs.sql import SqlConfig, sql
from storage.database.connect import VIEWS, connect
from storage.database.workspace import discover
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, InputError
from storage.labels import Labels
from storage.rounds.round import open_round, round_path
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from tests.rounds import round_info

COUNTS = "select class, count(*) n from pseudo_labels group by 1 order by 2 desc"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one round of labels, and the working directory in it."""
    round_ = open_round(round_path(str(tmp_path / "demo" / "labels"), 1))
    labels = Labels.of_image([(0, 0, 9, 9)] * 4, [1, 1, 0, 1], [0.9, 0.8, 0.7, 0.2])
    table = label_table(["k"], [1], [(20, 20)], labels, step=5)
    LabelStore(round_.path).write("shard-000000", table, {})
    round_.finish(round_info(classes=("disk", "ring[s]"), num_images=1, num_boxes=4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_question_from_the_folder_above_is_answered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql", COUNTS]) == 0
    cells = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["ring[s]", "2"] in cells
    assert ["disk", "1"] in cells


def test_the_answer_is_the_same_in_every_format(
    root: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    expected = [{"class": "ring[s]", "n": 2}, {"class": "disk", "n": 1}]
    answer = sql(SqlConfig(query=COUNTS, format="csv"))
    assert answer is not None
    assert answer.to_pylist() == expected
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert [{**row, "n": int(row["n"])} for row in csv.DictReader(lines)] == expected
    sql(SqlConfig(query=COUNTS, format="jsonl"))
    assert [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()] == expected
    sql(SqlConfig(query=COUNTS, format="parquet", output="answer.parquet"))
    assert pq.read_table(root / "answer.parquet").to_pylist() == expected
    sql(SqlConfig(query=COUNTS, output="answer.txt"))
    assert "ring[s]" in (root / "answer.txt").read_text()


def test_lists_are_json_in_csv(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    sql(SqlConfig(query="select boxes, categories from labels", format="csv"))
    (row,) = csv.DictReader(capsysbinary.readouterr().out.decode().splitlines())
    assert json.loads(row["boxes"])[0] == [0, 0, 9, 9]
    assert json.loads(row["categories"]) == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("selec 1", "syntax error"),
        ("select * from pseudo_label", "pseudo_labels"),
        ("select scor from boxes", 'Referenced column "scor" not found'),
        ("select 1; select 2", "expected one query"),
        ("-- nothing", "got nothing"),
    ],
)
def test_a_query_that_cannot_be_answered_is_one_line_with_the_views(
    root: Path, capsys: pytest.CaptureFixture[str], query: str, words: str
) -> None:
    assert cli.run(["sql", query]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said
    assert "LINE 1" not in said


def test_the_error_of_a_misspelt_view_lists_them_all(root: Path) -> None:
    with pytest.raises(ConfigError, match="the views are " + ", ".join(VIEWS)):
        sql(SqlConfig(query="from nothing"))


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to 'written.csv'",
        "attach 'written.db'",
        "create table t as select 1",
        "install httpfs",
        "set threads = 1",
        "export database 'written'",
        "pragma database_list",
    ],
)
def test_whatever_is_no_question_is_refused_and_writes_nothing(root: Path, query: str) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(ConfigError, match="nothing is changed by `mixpl sql`"):
        sql(SqlConfig(query=query))
    assert sorted(root.rglob("*")) == before


def test_without_a_query_the_views_are_explained(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Below .: 0 data sets, 1 rounds of labels, 0 runs.")
    for view in VIEWS:
        assert f"\n{view}  One row is" in said
    assert "[x1, y1, x2, y2]" in said


def test_an_empty_folder_answers_with_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["sql", COUNTS]) == 0
    assert "no rows" in capsys.readouterr().out


def test_a_long_answer_is_cut_on_the_screen_and_says_so(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(SqlConfig(query="from range(1000)"))
    said = capsys.readouterr().out
    assert f"{MAX_ROWS_SHOWN} of 1,000 rows" in said
    assert len(said.splitlines()) < MAX_ROWS_SHOWN + 10


def test_a_damaged_folder_is_named_and_the_others_answer(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "bad").mkdir()
    (root / "bad" / "dataset.json").write_text("{")
    assert cli.run(["sql", COUNTS]) == 0
    captured = capsys.readouterr()
    assert "left out: expected JSON" in captured.err
    assert "ring[s]" in captured.out


def test_parameters_and_a_query_file_stand_in_for_text(root: Path) -> None:
    (root / "question.sql").write_text(
        "-- how many\nselect count(*) n from boxes where score > $least and class = $c"
    )
    for param, expected in ((("least=0.75", "c=ring[s]"), 2), (("least=0", "c=disk"), 1)):
        found = sql(SqlConfig(sql_file="question.sql", param=param, memory_limit="200MB", spill="spill"))
        assert found is not None
        assert found.to_pylist() == [{"n": expected}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["select $a"], "give each with --param"),
        (["select 1", "--param", "a=1"], "leave out the --param"),
        (["select 1", "--param", "a"], "expected --param name=value, got 'a'"),
        (["select 1", "--memory-limit", "much"], "expected a memory limit such as 2GB"),
        (["select 1", "--threads", "0"], "expected 1 thread or more, got 0"),
        (["--sql-file", "nothing.sql"], "got nothing there: nothing.sql"),
    ],
)
def test_a_wrong_option_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.run(["sql", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said


def test_the_name_of_the_output_says_the_format_unless_another_is_asked(root: Path) -> None:
    for name, form, begin in (
        ("a.csv", None, b'"class","n"'),
        ("a.jsonl", None, b'{"class"'),
        ("a.parquet", None, b"PAR1"),
        ("a.txt", None, "┏".encode()),
        ("b.csv", "jsonl", b'{"class"'),
    ):
        sql(SqlConfig(query=COUNTS, output=name, format=form))  # type: ignore[arg-type]
        assert (root / name).read_bytes().startswith(begin), name


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            ("demo/labels/round=0001/round.json", '{"schema_version": 1, "complete": true}'),
            "fields of a round",
        ),
        (("bad/dataset.json", "[]"), "expected the fields of a data set"),
        (("bad/dataset.json", '{"schema_version": 1, "shards": null}'), "fields of a data set"),
    ],
)
def test_json_of_another_shape_is_left_out_in_one_line(
    root: Path, damage: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "bad").mkdir()
    (root / damage[0]).write_text(damage[1])
    assert cli.run(["sql", COUNTS]) == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("left out: ")
    assert words in said


def test_a_table_cut_short_is_named_with_its_remedy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "demo" / "labels" / "round=0001" / "shard-000000.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    assert cli.run(["sql", COUNTS]) == 2
    said = capsys.readouterr().err
    assert "shard-000000.parquet" in said
    assert "`mixpl verify` of its data set or round says how to write it again" in said


def test_a_view_that_nothing_fills_yet_says_what_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(SqlConfig(query="select count(*) from pseudo_labels", root=str(tmp_path)))
    assert "pseudo_labels is empty: no complete round of labels" in capsys.readouterr().err


def test_the_shell_answers_until_it_is_left(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(
        [
            "select class, count(*) n",
            "from boxes group by 1;",
            "selec;",
            ".refresh",
            "select current_setting('threads') as threads;",
            ".schema rounds",
            ".quit",
            "x;",
        ]
    )
    shell(partial(connect, comments=True, threads=3), discover("."), read=lambda _: next(lines))
    captured = capsys.readouterr()
    assert "ring[s]" in captured.out
    assert "weights_hash" in captured.out
    assert re.search(r"threads.*\n.*\n.*\b3\b", captured.out)  # also after .refresh
    assert captured.err.count("\n") == 1
    assert "syntax error" in captured.err
    assert next(lines) == "x;"


def test_a_fault_of_ours_in_the_shell_keeps_its_traceback(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_shell, "print_table", lambda _: list(zip([1], [1, 2], strict=True)))
    with pytest.raises(ValueError, match="zip"):
        shell(partial(connect, comments=True), discover("."), read=lambda _: "select 1;")


def test_a_query_that_meets_a_fault_of_ours_keeps_its_traceback(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object, done: threading.Event) -> None:
        done.wait()
        np.zeros(2) + np.zeros(3)

    monkeypatch.setattr(questions, "_show_progress", fault)
    with pytest.raises(ValueError, match="broadcast") as caught:
        cli.run(["sql", COUNTS])
    assert not isinstance(caught.value, InputError)


def test_a_data_set_whose_image_table_is_gone_is_left_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Dataset(
        root=str(root / "set"),
        name="set",
        classes=(),
        category_ids=(),
        num_images=1,
        num_boxes=None,
        labeled=False,
        has_hidden_truth=False,
        source={},
        split=None,
        shards=(),
        hash="h",
    ).write()
    assert cli.run(["sql", COUNTS]) == 0
    captured = capsys.readouterr()
    assert "left out: expected the image table, got no file" in captured.err
    assert "ring[s]" in captured.out


def test_a_damaged_table_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "demo" / "labels" / "round=0001" / "shard-000000.parquet").write_bytes(b"")
    for verb in (["sql", COUNTS], ["quality"]):
        assert cli.run(verb) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "shard-000000.parquet" in said


def test_a_question_is_asked_by_its_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql", "--ask"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("threshold-sweep ") and line.endswith("?") for line in listed)
    assert cli.run(["sql", "--ask", "score-histogram", "--param", "bins=2", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        '"dataset","class","low","boxes","judged","correct"',
        '"unlabeled","disk",0.5,1,0,0',
        '"unlabeled","ring[s]",0,1,0,0',
        '"unlabeled","ring[s]",0.5,2,0,0',
    ]
    assert printed.err.startswith("judged_boxes is empty: no complete round over images of known truth")


def test_the_head_of_a_question_is_printed_with_its_parameters(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["sql", "--ask", "calibration", "--schema"]) == 0
    said = capsys.readouterr().out
    assert "--param bins=10" in said
    assert "mean_score" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ask", "x"], "they are boxes-an-image, calibration"),
        (["--ask", "size-bin"], "did you mean size-bins"),
        (["--ask", "size-bins", "calibration"], "expected one question"),
        (["--ask", "size-bins", "--sql-file", "x"], "expected one question"),
        (["--ask", "size-bins", "--param", "bins=3"], "a parameter of size-bins (dataset)"),
        (
            ["--ask", "calibration", "--param", "bins=many"],
            "expected a whole number of at least 1 for --param bins",
        ),
        (["--ask", "calibration", "--param", "bins=0"], "at least 1"),
        (["--ask", "images-to-look-at", "--param", "margin=-1"], "a number of at least 0"),
    ],
)
def test_a_question_that_is_not_there_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.run(["sql", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") <= 2  # the line, and perhaps one on what is empty


def test_any_query_may_name_the_judged_boxes(root: Path) -> None:
    answer = sql(SqlConfig(query="select count(*) n from judged_boxes"))
    assert answer is not None
    assert answer.to_pylist() == [{"n": 0}]
