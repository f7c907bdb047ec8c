"""SQL over label tables, image tables and runs: DuckDB, in process, over the files as they lie.

In: a folder to look in, or a `Workspace`. Out: a DuckDB connection with the views of `storage/database/sql/`, each
with the head of its file as comments, which every client of DuckDB shows. Every view exists even when nothing is
there yet. Nothing is copied or locked: the connection lives in memory, any number of processes may ask while others
write, and files that appear later are seen by the next connection.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from storage import files
from storage.database.folder_tables import ROW_SCHEMAS, Catalog, catalog_of
from storage.database.read_only import lock
from storage.database.spill import spill_folder
from storage.database.workspace import Workspace, discover
from storage.errors import ConfigError
from storage.remote_view import RemoteView
from storage.tables.label_store import ASK_VERIFY
from storage.write_bound import forbid_writing

SQL_FOLDER = Path(__file__).parent / "sql"

VIEWS = (
    "datasets", "images", "labels", "boxes", "ground_truth", "pseudo_labels", "online_labels", "categories",
    "rounds", "thresholds", "metrics", "evaluations",
)  # fmt: skip
"""The public views, in the order in which they build on each other."""


WORKAROUNDS = {"disabled_optimizers": "statistics_propagation"}
"""DuckDB 2.0.0 ends with an internal error ("global dictionary column changed identity") when a filter follows
the join of a view over files of a few rows: 9 of 12 times on files of 3, 3 and 1 rows, never without this
optimiser. Its absence costs the large benchmark nothing that could be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewDescription:
    """What the comments on a view say."""

    name: str
    row: str
    """What one row is."""
    columns: tuple[tuple[str, str], ...]
    """Name and meaning."""


def connect(
    root: str | Workspace = ".",
    *,
    memory_limit: str | None = None,
    threads: int | None = None,
    spill: str | None = None,
    comments: bool = False,
    locked: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Return a connection with all views over what lies below `root`.

    `memory_limit` as DuckDB takes it ("2GB"); above it, it works out of core in the folder `spill`, without
    one in the machine's folder for temporary files. `comments` says on each view and column what it is, for 0.1 s.
    `locked` is for what a user wrote: only files below the root are opened (see `read_only`), and the threads of
    DuckDB write nowhere but in the spill folder (see `write_bound`).
    Cursors of the connection see the same views. Raises ConfigError when `root` is no folder, the limit no size,
    `threads` below 1, or a file that a view begins with is damaged.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"expected 1 thread or more, got {threads}; leave it out for all cores")
    workspace = discover(root) if isinstance(root, str) else root
    folder = spill_folder(spill)
    if not locked:
        return _open(workspace, memory_limit, threads, folder, comments=comments)
    # DuckDB's threads are started by this one, and are bound as it is
    with ThreadPoolExecutor(1, initializer=forbid_writing, initargs=(folder,)) as bound:
        connection = bound.submit(_open, workspace, memory_limit, threads, folder, comments=comments).result()
    lock(connection, workspace.root)
    return connection


def _open(
    workspace: Workspace, memory_limit: str | None, threads: int | None, spill: str, *, comments: bool
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", **WORKAROUNDS})
    connection.execute("SET enable_progress_bar = true")  # for query_progress()
    connection.execute("SET enable_progress_bar_print = false")  # it would be drawn into any standard output
    if memory_limit is not None:
        _limit_memory(connection, memory_limit)
    connection.execute("SET temp_directory = $folder", {"folder": spill})
    if threads is not None:
        connection.execute("SET threads = $threads", {"threads": threads})
    create_views(connection, workspace, comments=comments)
    return connection


def create_views(connection: duckdb.DuckDBPyConnection, workspace: Workspace, *, comments: bool) -> None:
    """Create all views over a workspace in an empty database."""
    connection.execute("CREATE SCHEMA workspace")
    connection.execute("USE workspace")
    try:
        _register(connection, catalog_of(workspace))
    except duckdb.Error as error:
        raise ConfigError(
            f"expected the files of every data set, round and run, got {one_line(error)}; {ASK_VERIFY}"
        ) from None
    connection.execute("USE main")
    for name in ("class_threshold", "label_rows", "counted_labels", "class_counts", *VIEWS):
        connection.execute(_sql(name))
    for view in VIEWS if comments else ():
        _comment(connection, view)


def one_line(error: duckdb.Error) -> str:
    """Return DuckDB's message without its drawing of the query; of a Python error within, its last line."""
    lines = str(error).splitlines()
    if "Traceback (most recent call last)" in str(error):
        return lines[-1].strip()
    return " ".join(line.strip() for line in lines if line.strip(" ^") and not line.startswith("LINE "))


def describe_views(connection: duckdb.DuckDBPyConnection) -> list[ViewDescription]:
    """Return what the public views hold, from the comments of a connection that has them."""
    described = {
        name: (row, columns) for name, row, columns in connection.execute(_sql("comments")).fetchall()
    }
    return [
        ViewDescription(name=view, row=described[view][0], columns=tuple(map(tuple, described[view][1])))
        for view in VIEWS
    ]


def _comment(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    """Put the head of a view's file on the view; what it does not say of a column, the head of `boxes` says."""
    meanings = _meanings("boxes") | _meanings(view)
    columns = connection.table(view).columns
    row = _sql(view).partition("\n")[0].removeprefix("-- ")
    # COMMENT ON takes no parameters: the texts are our own, from the heads
    statements = [f"COMMENT ON VIEW {view} IS {_quoted(row)}"]
    statements += [f"COMMENT ON COLUMN {view}.{name} IS {_quoted(meanings[name])}" for name in columns]
    connection.execute(";".join(statements))


def _meanings(view: str) -> dict[str, str]:
    """Return what the head of a view's file says of its columns."""
    matches = re.finditer(r"^--   (\w+) +(.+)$", _sql(view), flags=re.MULTILINE)
    return {match[1]: match[2] for match in matches}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sql(name: str) -> str:
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def _limit_memory(connection: duckdb.DuckDBPyConnection, limit: str) -> None:
    try:
        connection.execute("SET memory_limit = $limit", {"limit": limit})
    except duckdb.Error:
        raise ConfigError(
            f"expected a memory limit such as 2GB or 500MB, got {limit!r}; give a number and KB, MB, GB or TB"
        ) from None


def _register(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    for name, table in catalog.tables.items():
        connection.from_arrow(table).create(name)
    remote = {path for paths in catalog.files.values() for path in paths if not files.is_local(path)}
    for location in {location.split("://")[0]: location for location in sorted(remote)}.values():
        connection.register_filesystem(RemoteView(location))
    for name, locations in catalog.files.items():
        if not locations:
            connection.from_arrow(ROW_SCHEMAS[name].empty_table()).create(name)
        elif name == "metric_lines":
            _read_lines(connection, locations).create_view(name)
        else:
            connection.read_parquet(locations, filename=True).create_view(name)


def _read_lines(connection: duckdb.DuckDBPyConnection, locations: list[str]) -> duckdb.DuckDBPyRelation:
    """Return one JSON value a line; a line cut short is null."""
    paths: Any = locations  # a list is taken, though the signature speaks of one path
    return connection.read_json(
        paths,
        columns={"json": "JSON"},
        records="false",
        format="newline_delimited",
        ignore_errors=True,
        filename=True,
    )
