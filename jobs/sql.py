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
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table

from storage import files
from storage.database import VIEWS, connect, describe_views
from storage.workspace import Workspace, discover

Format = Literal["table", "csv", "jsonl", "parquet"]

MAX_ROWS_SHOWN = 200
"""Rows of a table on the screen; the other formats give all."""

READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlConfig:
    """Ask the tables."""

    query: tyro.conf.Positional[str] = ""
    """The query, in DuckDB's SQL. Left out: the views, their columns and what they mean."""
    root: str = "."
    """Folder below which data sets, label rounds and runs are looked for."""
    format: Format = "table"
    """How the answer is written."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """File for the answer; else standard output."""


def sql(config: SqlConfig) -> pa.Table | None:
    """Run the query, write the answer, and return it; None where there was no query.

    Raises ValueError with DuckDB's message and the names of the views when the query cannot be answered.
    """
    if config.format == "parquet" and config.output is None and sys.stdout.isatty():
        raise ValueError(
            "expected --output FILE for Parquet, got a terminal; name a file, or choose another format"
        )
    workspace = discover(config.root)
    for problem in workspace.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not config.query.strip():
        _print_views(workspace)
        return None
    answer = ask(config.query, workspace)
    _write(answer, config)
    return answer


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
            return connection.execute(statements[0]).to_arrow_table()
        except duckdb.Error as error:
            message = " ".join(str(error).split())
            raise ValueError(f"{message}; the views are {', '.join(VIEWS)}") from None


def _write(answer: pa.Table, config: SqlConfig) -> None:
    if config.format == "table" and config.output is None:
        _print_table(answer)
        return
    data = _encode(answer, config.format)
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
            Console(file=text, width=10_000).print(_table(answer, answer.num_rows))
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
    Console().print(_table(answer, MAX_ROWS_SHOWN))
    if answer.num_rows > MAX_ROWS_SHOWN:
        print(f"{MAX_ROWS_SHOWN} of {answer.num_rows:,} rows; --format csv, jsonl or parquet gives all")
    elif not answer.num_rows:
        print("no rows")


def _table(answer: pa.Table, max_rows: int) -> Table:
    table = Table()
    for field in answer.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(field.name, justify="right" if numeric else "left", overflow="fold")
    for row in answer.slice(0, max_rows).to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _print_views(workspace: Workspace) -> None:
    console = Console()
    print(
        f"Below {workspace.root}: {len(workspace.datasets)} data sets, {len(workspace.rounds)} rounds of labels, "
        f"{len(workspace.runs)} runs."
    )
    for view in describe_views():
        table = Table(
            title=f"[bold]{view.name}[/bold]  {view.row}", title_justify="left", show_header=False, box=None
        )
        table.add_column(style="cyan", no_wrap=True, min_width=16)
        table.add_column()
        for name, meaning in view.columns:
            table.add_row(f"  {name}", meaning)
        console.print(table)
    print('\nFor example: mixpl sql "select class, count(*) n from pseudo_labels group by 1 order by 2 desc"')
