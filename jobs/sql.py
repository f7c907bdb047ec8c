"""`mixpl sql "…"`: ask the tables.

In: a query, or a file with one, and the folder below which data sets, rounds and runs lie. Out: the answer as a
table on the screen, or as CSV, JSON lines or Parquet, on standard output or in a file. Without a query: a shell on
a terminal, elsewhere what there is to ask about. Views and meanings come from `storage/database/sql/`, questions
that have a name (--ask) from `analysis/sql/questions/`. Nothing on disk is changed: only queries are run; the one
file that is written is --output.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import duckdb
import pyarrow as pa
import tyro

from analysis.questions import Question, list_questions, open_question
from jobs.console.print_table import Format, write_answer
from jobs.console.questions import empty_views, judge_for, parse_parameters, report_left_out, run_query
from jobs.console.sql_shell import print_view, shell
from storage import files
from storage.database.connect import connect, describe_views
from storage.database.workspace import Workspace, discover
from storage.errors import ConfigError

FORMATS: dict[str, Format] = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}
"""What the end of an output file's name says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlConfig:
    """Ask the tables."""

    query: tyro.conf.Positional[str] = ""
    """The query, in DuckDB's SQL. Left out: a shell on a terminal, elsewhere the same as --schema."""
    root: str = "."
    """Folder below which data sets, label rounds and runs are looked for."""
    ask: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[NAME]")] = None
    """Ask a question by its name; without a name, list them all."""
    schema: bool = False
    """Print the views, their columns and what they mean; with --ask NAME those of the question, and its
    parameters."""
    sql_file: str | None = None
    """File with the query."""
    param: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """name=value for $name in the query; may be given again. Numbers, lists, true and null as JSON."""
    format: Format | None = None
    """How the answer is written; left out: as the name of the output file says, else a table."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """File for the answer; else standard output."""
    memory_limit: str | None = None
    """Such as 2GB; above it, work goes on in --spill, and what cannot go on there ends. Left out: 80 % of the
    machine's memory."""
    spill: str | None = None
    """Folder for work beyond memory; else the machine's folder for temporary files."""
    threads: int | None = None
    """Cores to use; else all."""

    @property
    def form(self) -> Format:
        """How the answer is written."""
        suffix = self.output.rsplit(".", 1)[-1].lower() if self.output else ""
        return self.format or FORMATS.get(suffix, "table")


def sql(config: SqlConfig) -> pa.Table | None:
    """Run the query, write the answer, and return it; None where there was no query.

    Raises ConfigError with DuckDB's message and what to do when the query cannot be answered.
    """
    if config.form == "parquet" and config.output is None and sys.stdout.isatty():
        raise ConfigError(
            "expected --output FILE for Parquet, got a terminal; name a file, or choose another format"
        )
    if config.ask == ():
        _print_questions()
        return None
    question = _question(config)
    query, parameters = _query(config), parse_parameters(config.param)
    if question is not None:
        if config.schema:
            _print_question(question)
            return None
        query, parameters = question.sql, question.bind(parameters)
    workspace = discover(config.root)
    report_left_out(workspace)
    if config.schema or not (query.strip() or _at_terminal()):
        _print_views(workspace)
        return None
    if not query.strip():
        shell(partial(_connect, config), workspace)
        return None
    with _connect(config, workspace) as connection:
        judge_for(connection, workspace, query)
        answer = run_query(connection, query, parameters)
    for line in empty_views(query, workspace):
        print(line, file=sys.stderr)
    write_answer(answer, config.form, config.output)
    return answer


def _connect(config: SqlConfig, workspace: Workspace) -> duckdb.DuckDBPyConnection:
    return connect(
        workspace,
        memory_limit=config.memory_limit,
        spill=config.spill,
        threads=config.threads,
        comments=True,
        locked=True,
    )


def _question(config: SqlConfig) -> Question | None:
    """Return the question that --ask names."""
    if config.ask is None:
        return None
    if config.query or config.sql_file is not None or len(config.ask) > 1:
        raise ConfigError("expected one question: --ask NAME, a query or --sql-file; leave the others out")
    return open_question(config.ask[0])


def _query(config: SqlConfig) -> str:
    if config.sql_file is None:
        return config.query
    if config.query:
        raise ConfigError("expected a query or --sql-file, got both; leave one out")
    try:
        if files.is_local(config.sql_file) and files.local_path(config.sql_file).is_fifo():
            return files.local_path(config.sql_file).read_text(encoding="utf-8")  # <(...), /dev/stdin
        return files.read_bytes(config.sql_file).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"expected a file with a query, got nothing there: {config.sql_file}; name another"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"expected a query in UTF-8, got other bytes: {config.sql_file}; save it as UTF-8"
        ) from None


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _print_questions() -> None:
    questions = list_questions()
    width = max(len(question.name) for question in questions)
    for question in questions:
        print(f"{question.name:<{width}}  {question.question}")
    print("\nFor example: mixpl sql --ask threshold-sweep --param steps=10")
    print("Columns and parameters: mixpl sql --ask NAME --schema")


def _print_question(question: Question) -> None:
    print(f"{question.name}  {question.question}\n{question.row}")
    for column, meaning in question.columns:
        print(f"  {column:<18}{meaning}")
    for parameter in question.parameters:
        given = f"{parameter.name}={json.dumps(parameter.default)}"
        print(f"  --param {given:<20}{parameter.meaning}")


def _print_views(workspace: Workspace) -> None:
    print(
        f"Below {workspace.root}: {len(workspace.datasets)} data sets, {len(workspace.rounds)} rounds of "
        f"labels, {len(workspace.runs)} runs."
    )
    with connect(
        Workspace(), comments=True
    ) as connection:  # no file of the folder can keep it from answering
        views = describe_views(connection)
    for view in views:
        print()
        print_view(view)
    print('\nFor example: mixpl sql "select class, count(*) n from pseudo_labels group by 1 order by 2 desc"')
