"""The views as a database file: readable without this project, small, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from storage.database.catalog_file import write_catalog
from storage.database.connect import VIEWS, connect
from storage.errors import InputError
from storage.labels import Labels
from storage.rounds.round import open_round, round_path
from storage.tables.label_table import label_table


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    table = label_table(["k"], [1], [(9, 9)], Labels.of_image([(0, 0, 9, 9)] * 3, [0] * 3, [0.9, 0.8, 0.1]))
    open_round(round_path(str(tmp_path / "labels"), 1)).labels().write("shard-000000", table, {})
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    return tmp_path


QUESTION = "SELECT (SELECT count(*) FROM boxes), (SELECT sum(value) FROM metrics)"


def test_plain_duckdb_reads_every_view_from_anywhere(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "labels.duckdb"
    write_catalog(str(labels), str(out))
    program = (
        "import duckdb, sys\n"
        f"con = duckdb.connect({str(out)!r}, read_only=True)\n"
        f"print(con.execute({QUESTION!r}).fetchall(), len(con.execute('SHOW TABLES').fetchall()))\n"
        "other = duckdb.connect()\n"
        f"other.execute(\"ATTACH '{out}' AS lab (READ_ONLY)\")\n"
        "print(other.execute('SELECT count(*) FROM lab.boxes').fetchall())\n"
        'comment = "SELECT comment FROM duckdb_columns() "\n'
        "comment += \"WHERE (table_name, column_name) = ('pseudo_labels', 'x1')\"\n"
        "print(other.execute(comment).fetchall())\n"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd="/", capture_output=True, text=True, check=True
    )
    comment = "[('left edge, pixels of the image',)]"
    assert said.stdout.splitlines() == [f"[(3, 2.5)] {len(VIEWS)}", "[(3,)]", comment]
    assert connect(str(labels)).execute(QUESTION).fetchall() == [(3, 2.5)]
    assert out.stat().st_size < 1_000_000
    assert [path.name for path in out.parent.iterdir()] == ["labels.duckdb"]


def test_it_is_replaced_whole(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.duckdb"
    write_catalog(str(labels), str(out))
    write_catalog(str(labels), str(out))
    with connect(str(labels)) as con:
        con.execute(f"ATTACH '{out}' AS lab (READ_ONLY)")
        assert con.execute("SELECT count(*) FROM lab.boxes").fetchall() == [(3,)]


def test_no_other_file_is_replaced(labels: Path, tmp_path: Path) -> None:
    text, database = tmp_path / "notes.duckdb", tmp_path / "own.duckdb"
    text.write_bytes(b"something else")
    with duckdb.connect(str(database)) as con:
        con.execute("CREATE TABLE precious AS SELECT 1 AS one")
    before = {path: path.read_bytes() for path in (text, database)}
    for path in before:
        with pytest.raises(InputError, match="got another file there"):
            write_catalog(str(labels), str(path))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["workspace.duckdb", "main.duckdb"])
def test_a_name_that_is_a_schema_is_refused(labels: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="choose another"):
        write_catalog(str(labels), str(tmp_path / name))
    with pytest.raises(InputError, match="expected a local file"):
        write_catalog(str(labels), f"s3://bucket/{name}")
