"""Arrow tables on the screen and in files: a table, or CSV, JSON lines, Parquet.

In: an Arrow table. Out: text for a person, as wide as the terminal and no longer than he can read, or all of it
in one of the formats, on standard output or in a file that appears whole or not at all. Numbers stand to the right;
a column of `rounded` numbers has as many digits as it was given.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jobs.console.plain_text import STANDARD_OUTPUT, printable, raw
from storage import files
from storage.errors import names_location
from storage.tables.parquet import encode_parquet

Format = Literal["table", "csv", "jsonl", "parquet"]

MAX_ROWS_SHOWN = 200
"""Rows of a table on the screen; the other formats give all."""
MAX_RECORDS_SHOWN = 20
"""Rows on the screen where each takes many lines."""
MAX_LENGTH = 60
"""Letters of a list on the screen."""
UNBOUNDED = 100_000
"""Letters in a line where no terminal bounds it."""
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def write_answer(answer: pa.Table, form: Format, output: str | None = None) -> None:
    """Write an answer to a file, or without one to standard output."""
    if form == "table" and output is None:
        print_table(answer)
        return
    data = encode(answer, form)
    if output is None:
        with names_location(STANDARD_OUTPUT):
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    else:
        files.write_atomic(output, data)
        print(f"{answer.num_rows:,} rows in {output}", file=sys.stderr)


def print_table(answer: pa.Table, title: str | None = None, *, lines: bool = False) -> None:
    """Print as a table, or where that is wider than the terminal, each row as lines of name and value.

    `lines`: with a line between two rows, where rows are texts of several lines.
    """
    if title is not None:
        print(printable(title))
    console = Console(file=raw(sys.stdout), width=None if sys.stdout.isatty() else UNBOUNDED)
    table = _table(answer, MAX_ROWS_SHOWN, lines=lines)
    unbounded = console.options.update(max_width=UNBOUNDED)
    fits = Measurement.get(console, unbounded, table).maximum <= console.width
    shown = MAX_ROWS_SHOWN if fits else MAX_RECORDS_SHOWN
    for renderable in [table] if fits else _records(answer, shown):
        console.print(renderable)
    if answer.num_rows > shown:
        print(f"{shown} of {answer.num_rows:,} rows; --format csv, jsonl or parquet gives all")
    elif not answer.num_rows:
        print("no rows")


def rounded(values: Iterable[float | None], digits: int = 1) -> pa.Array:
    """Return numbers as a column that is printed with so many digits; nothing and NaN are empty."""
    texts = [None if value is None or value != value else f"{value:.{digits}f}" for value in values]
    return pa.array([None if text is None else Decimal(text) for text in texts], pa.decimal128(38, digits))


def in_percent(shares: Iterable[float | None]) -> pa.Array:
    """Return shares in 0 .. 1 as a column of percents."""
    return rounded(None if share is None else 100 * share for share in shares)


def encode(answer: pa.Table, form: Format) -> bytes:
    """Return the whole answer in one of the formats."""
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
            return encode_parquet(answer, compression="zstd")


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


def _records(answer: pa.Table, max_rows: int) -> Iterator[Table]:
    for index, row in enumerate(_cells(answer, max_rows), start=1):
        record = Table(show_header=False, box=None, title=f"row {index}", title_justify="left")
        for name, value in zip(answer.column_names, row, strict=True):
            record.add_row(Text(printable(name), style="cyan"), value)
        yield record


def _table(answer: pa.Table, max_rows: int, *, lines: bool = False) -> Table:
    table = Table(show_lines=lines)
    for field in answer.schema:
        numeric = any(is_kind(field.type) for is_kind in NUMBERS)
        table.add_column(Text(printable(field.name)), justify="right" if numeric else "left", overflow="fold")
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
    return Text(printable(str(value)))


def _cut(text: str, brackets: str) -> str:
    shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
    return f"{brackets[0]}{shown}{brackets[1]}"
