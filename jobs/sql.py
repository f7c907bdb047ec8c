"""`mixpl sql "…"`: ask the tables.

In: a query, and the folder below which data sets, rounds and runs lie. Out: the answer as a table on the
screen, or as CSV, JSON lines or Parquet, on standard output or in a file. Without a query: what there is
to ask about. Views and meanings come from `storage/sql/`. Nothing on disk is changed: only queries are
run; the one file that is written is --output.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from storage import files
from storage.database import VIEWS, connect, describe_views, one_line
from storage.workspace import Workspace, discover

Format = Literal["table", "csv", "jsonl", "parquet"]

FORMATS: dict[str, Format] = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}
"""What the end of an output file's name says."""

MAX_ROWS_SHOWN = 200
"""Rows of a table on the screen; the other formats give all."""
MAX_RECORDS_SHOWN = 20
"""Rows on the screen where each takes many lines."""
MAX_LENGTH = 60
"""Letters of a list on the screen."""
UNBOUNDED = 100_000
"""Letters in a line where no terminal bounds it."""

READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlConfig:
    """Ask the tables."""

    query: tyro.conf.Positional[str] = ""
    """The query, in DuckDB's SQL. Left out: the views, their columns and what they mean."""
    root: str = "."
    """Folder below which data sets, label rounds and runs are looked for."""
    format: Format | None = None
    """How the answer is written; left out: as the name of the output file says, else a table."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """File for the answer; else standard output."""

    @property
    def form(self) -> Format:
        """How the answer is written."""
        suffix = self.output.rsplit(".", 1)[-1].lower() if self.output else ""
        return self.format or FORMATS.get(suffix, "table")


def sql(config: SqlConfig) -> pa.Table | None:
    """Run the query, write the answer, and return it; None where there was no query.

    Raises ValueError with DuckDB's message and the names of the views when the query cannot be answered.
    """
    if config.form == "parquet" and config.output is None and sys.stdout.isatty():
        raise ValueError(
            "expected --output FILE for Parquet, got a terminal; name a file, or choose another format"
        )
    workspace = discover(config.root)
    report_left_out(workspace)
    if not config.query.strip():
        _print_views(workspace)
        return None
    answer = ask(config.query, workspace)
    _write(answer, config)
    return answer


def report_left_out(workspace: Workspace) -> None:
    """Name on standard error the folders that cannot be asked."""
    for problem in workspace.problems:
        print(f"left out: {problem}", file=sys.stderr)


def ask(query: str, workspace: Workspace) -> pa.Table:
    """Return the answer to one query over a workspace. Raises ValueError as `sql` does."""
    with connect(workspace) as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type not in READING:
                kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
                raise ValueError(
                    f"expected one query (SELECT, FROM, DESCRIBE, SUMMARIZE, EXPLAIN), got {kinds}: "
                    "nothing is changed by `mixpl sql`; write answers with --output"
                )
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise ValueError(f"{one_line(error)}; the views are {', '.join(VIEWS)}") from None


def _write(answer: pa.Table, config: SqlConfig) -> None:
    if config.form == "table" and config.output is None:
        _print_table(answer)
        return
    data = _encode(answer, config.form)
    if config.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        files.write_atomic(config.output, data)
        print(f"{answer.num_rows:,} rows in {config.output}", file=sys.stderr)


def _encode(answer: pa.Table, form: Format) -> bytes:
    match form:
        case "table":
            text = io.StringIO()
            Console(file=text, width=UNBOUNDED).print(_table(answer, answer.num_rows))
            return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()).encode()
        case "csv":
            sink = pa.BufferOutputStream()
            pyarrow.csv.write_csv(_flat_text(answer), sink)
            return bytes(sink.getvalue().to_pybytes())
        case "jsonl":
            lines = (json.dumps(row, default=_json_value, ensure_ascii=False) for row in answer.to_pylist())
            return "".join(f"{line}\n" for line in lines).encode()
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(answer, sink, compression="zstd")
            return bytes(sink.getvalue().to_pybytes())


def _flat_text(answer: pa.Table) -> pa.Table:
    """Return the table with lists and structs as JSON text: CSV has no nesting."""
    for index, field in enumerate(answer.schema):
        if pa.types.is_nested(field.type):
            values = answer.column(index).to_pylist()
            texts = [None if value is None else json.dumps(value, default=_json_value) for value in values]
            answer = answer.set_column(index, field.name, pa.array(texts, pa.string()))
    return answer


def _json_value(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _print_table(answer: pa.Table) -> None:
    """Print as a table, or where that is wider than the terminal, each row as lines of name and value."""
    console = Console() if sys.stdout.isatty() else Console(width=UNBOUNDED)
    table = _table(answer, MAX_ROWS_SHOWN)
    unbounded = console.options.update(max_width=UNBOUNDED)
    fits = Measurement.get(console, unbounded, table).maximum <= console.width
    shown = MAX_ROWS_SHOWN if fits else MAX_RECORDS_SHOWN
    for renderable in [table] if fits else _records(answer, shown):
        console.print(renderable)
    if answer.num_rows > shown:
        print(f"{shown} of {answer.num_rows:,} rows; --format csv, jsonl or parquet gives all")
    elif not answer.num_rows:
        print("no rows")


def _records(answer: pa.Table, max_rows: int) -> Iterator[Table]:
    for index, row in enumerate(_cells(answer, max_rows), start=1):
        record = Table(show_header=False, box=None, title=f"row {index}", title_justify="left")
        for name, value in zip(answer.column_names, row, strict=True):
            record.add_row(Text(name, style="cyan"), value)
        yield record


def _table(answer: pa.Table, max_rows: int) -> Table:
    table = Table()
    for field in answer.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(Text(field.name), justify="right" if numeric else "left", overflow="fold")
    for row in _cells(answer, max_rows):
        table.add_row(*row)
    return table


def _cells(answer: pa.Table, max_rows: int) -> Iterator[tuple[Text, ...]]:
    """Yield the rows as plain text: brackets are no markup, nulls are empty, long values are cut."""
    columns = [column.to_pylist() for column in answer.slice(0, max_rows).columns]
    for values in zip(*columns, strict=True):
        yield tuple(_cell(value) for value in values)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    if isinstance(value, list):
        return Text(_cut(", ".join(str(_cell(entry)) for entry in value[:MAX_LENGTH]), "[]"))
    return Text(str(value))


def _cut(text: str, brackets: str) -> str:
    shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
    return f"{brackets[0]}{shown}{brackets[1]}"


def _print_views(workspace: Workspace) -> None:
    console = Console()
    print(
        f"Below {workspace.root}: {len(workspace.datasets)} data sets, {len(workspace.rounds)} rounds of "
        f"labels, {len(workspace.runs)} runs."
    )
    for view in describe_views():
        console.print(Text.assemble("\n", (view.name, "bold"), f"  {view.row}"))
        table = Table(show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True, min_width=16)
        for name, meaning in view.columns:
            table.add_row(f"  {name}", Text(meaning))
        console.print(table)
    print('\nFor example: mixpl sql "select class, count(*) n from pseudo_labels group by 1 order by 2 desc"')
