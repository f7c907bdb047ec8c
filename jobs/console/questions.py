"""One question to the views: only reading, with parameters, progress and a way to stop.

In: a connection of `storage.database.connect`, the text of one query, its parameters. Out: an Arrow table.
Guaranteed: nothing but queries is run, by threads that write nowhere but in the spill folder; what DuckDB complains
of comes as one line with what to do about it; a long query shows a bar on a terminal, and Ctrl-C ends it and not
the program around it.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from analysis.judged import add_judged_tables
from jobs.console.progress import Progress
from storage.database.connect import VIEWS, one_line
from storage.database.read_only import reading_query
from storage.database.workspace import Workspace
from storage.errors import ConfigError, system_error
from storage.memory_bound import bounded_memory
from storage.tables.label_store import ASK_VERIFY
from storage.write_bound import forbid_writing

HEADROOM = 500_000_000
"""Bytes beyond a small limit: threads, the answer on its way out."""

_MORE_MEMORY = "raise --memory-limit, give --spill a folder with more room, or ask for fewer rows"

PATIENCE = 2.0
"""Seconds before a bar appears."""


def run_query(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None
) -> pa.Table:
    """Return the answer to one query; `$name` in it stands for a parameter.

    Raises ConfigError, in one line, when it is no query or cannot be answered, and KeyboardInterrupt after the
    query is stopped.
    """
    try:
        query = reading_query(connection, query)
        with bounded_memory(_memory_limit(connection)):
            return _interruptible(connection, query, dict(parameters or {}))
    except duckdb.Error as error:
        raise ConfigError(_full_spill(connection, error) or f"{one_line(error)}; {_remedy(error)}") from None
    except MemoryError:
        raise ConfigError(
            f"expected an answer that fits into memory, got a larger one; {_MORE_MEMORY}"
        ) from None


def _full_spill(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str | None:
    """Return what to say where the folder for work beyond memory has no more room; None of any other error."""
    hidden = _spill(connection)
    failure = system_error(str(error)) if hidden in str(error) else None
    if failure is None and "max_temp_directory_size" not in str(error):
        return None
    reason = "as much as is left there" if failure is None else failure.strerror
    return (
        f"expected room for work beyond memory in {Path(hidden).parent}, got no more ({reason}); make room there, "
        "name another folder with --spill, raise --memory-limit, or ask for fewer rows"
    )


def judge_for(connection: duckdb.DuckDBPyConnection, workspace: Workspace, query: str) -> None:
    """Make the tables of `analysis.judged` that a query names. Raises ConfigError for damaged label tables."""
    try:
        add_judged_tables(connection, workspace, query)
    except duckdb.Error as error:
        raise ConfigError(f"expected readable label tables, got {one_line(error)}; {ASK_VERIFY}") from None


def _spill(connection: duckdb.DuckDBPyConnection) -> str:
    ((folder,),) = connection.execute("SELECT current_setting('temp_directory')").fetchall()
    return str(folder)


def _memory_limit(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how much a query may take: a tenth more than DuckDB's limit, which it keeps by itself where it can."""
    ((limit,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    number, unit = str(limit).split()
    num_bytes = float(number) * 1024.0 ** ("bytes", "KiB", "MiB", "GiB", "TiB").index(unit)
    return round(max(1.1 * num_bytes, num_bytes + HEADROOM))


def parse_parameters(given: Sequence[str]) -> dict[str, object]:
    """Return `name=value` texts as parameters: numbers, lists, true, false and null as JSON, all else as text."""
    parameters: dict[str, object] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise ConfigError(f"expected --param name=value, got {text!r}; write $name in the query for it")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters


def report_left_out(workspace: Workspace) -> None:
    """Name on standard error the folders that cannot be asked."""
    for problem in workspace.problems:
        print(f"left out: {problem}", file=sys.stderr)


def empty_views(query: str, workspace: Workspace) -> list[str]:
    """Return a line for each view that the query names and that is empty for want of what fills it."""
    labeled = any(dataset.labeled or dataset.has_hidden_truth for dataset in workspace.datasets)
    complete = [round_.info.dataset_hash for round_ in workspace.rounds if round_.info is not None]
    judged = labeled and bool(complete)
    filled = {
        "datasets images categories": (workspace.datasets, "no data set", "run `mixpl shard`"),
        "ground_truth": (labeled, "no data set with truth", "run `mixpl shard` on annotated images"),
        "pseudo_labels thresholds": (complete, "no complete round of labels", "run `mixpl label`"),
        "judged_boxes judged_truth": (
            judged,
            "no complete round over images of known truth",
            "run `mixpl label` on a set that `mixpl split` parted from a labeled one",
        ),
        "round_changes": (
            len(complete) > len(set(complete)),
            "no second round of a data set",
            "run `mixpl label` with other weights",
        ),
        "rounds": (workspace.rounds, "no round of labels", "run `mixpl label`"),
        "online_labels metrics": (workspace.runs, "no run", "run `mixpl train`"),
        "evaluations": (workspace.runs, "no run", "run `mixpl eval`"),
    }
    words = set(re.findall(r"\w+", query.lower()))
    return [
        f"{view} is empty: {what} below {workspace.root}; {remedy}, or name another folder with --root"
        for views, (contents, what, remedy) in filled.items()
        for view in views.split()
        if view in words and not contents
    ]


def _remedy(error: duckdb.Error) -> str:
    message = str(error)
    if "following parameters" in message:
        return "give each with --param name=value"
    if "count mismatch for prepared" in message or "Excess parameters" in message:
        return "leave out the --param that the query does not name"
    if "No files found" in message or "No such file" in message:
        return f"that file went away, as when a round is compacted: run the same command again, else {ASK_VERIFY}"
    if "Parquet" in message or "magic bytes" in message:
        return f"that file is damaged: {ASK_VERIFY}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return _MORE_MEMORY
    return f"the views are {', '.join(VIEWS)}"


def _interruptible(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, object]
) -> pa.Table:
    """Run in a thread that writes nowhere but in the spill folder, so that this one shows progress and stops it."""
    results: list[pa.Table] = []
    spill = _spill(connection)
    errors: list[BaseException] = []
    done = threading.Event()  # Thread.join forgets a running thread when Ctrl-C comes while it waits

    def run() -> None:
        try:
            forbid_writing(spill)
            results.append(connection.sql(query, params=parameters or None).to_arrow_table())
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="query", daemon=True)
    thread.start()
    try:
        _show_progress(connection, done)
    except KeyboardInterrupt:
        connection.interrupt()
        done.wait()
        raise
    finally:
        thread.join()  # past its last line: it must not let go of DuckDB's objects while Python ends
    if errors:
        raise errors[0]
    return results[0]


def _show_progress(connection: duckdb.DuckDBPyConnection, done: threading.Event) -> None:
    if done.wait(PATIENCE):
        return
    percent = 0.0
    with Progress("query", total=100, unit="%", transient=True) as progress:
        while not done.wait(0.2):
            now = max(percent, min(100.0, connection.query_progress()))  # it may step back
            progress.advance(now - percent)
            percent = now
