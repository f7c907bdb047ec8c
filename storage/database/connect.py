"""SQL over label tables, image tables and runs: DuckDB, in process, over the files as they lie.

In: a folder to look in, or a `Workspace`. Out: a DuckDB connection with the views of `storage/database/sql/`, each
described by the comment at the head of its file. Every view exists even when nothing is there yet.
Nothing is copied or locked: the connection lives in memory, any number of processes may ask while others
write, and files that appear later are seen by the next connection.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from storage import files
from storage.database.folder_tables import ROW_SCHEMAS, Catalog, catalog_of
from storage.database.workspace import Workspace, discover
from storage.errors import ConfigError
from storage.remote import open_filesystem
from storage.tables.label_store import ASK_VERIFY

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
    """What the head of a view's file says."""

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
) -> duckdb.DuckDBPyConnection:
    """Return a connection with all views over what lies below `root`.

    `memory_limit` as DuckDB takes it ("2GB"); above it, it works out of core in the folder `spill`, without
    one in the machine's folder for temporary files. Cursors of the connection see the same views. Raises
    ValueError when `root` is no folder, the limit no size, `threads` below 1, or a file that a view begins with
    is damaged.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"expected 1 thread or more, got {threads}; leave it out for all cores")
    workspace = discover(root) if isinstance(root, str) else root
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", **WORKAROUNDS})
    connection.execute("SET enable_progress_bar = false")  # on by default, and drawn into any standard output
    if memory_limit is not None:
        _limit_memory(connection, memory_limit)
    folder = spill or str(Path(tempfile.gettempdir()) / f"mixpl-spill-{os.getpid()}")
    connection.execute("SET temp_directory = $folder", {"folder": folder})
    if threads is not None:
        connection.execute("SET threads = $threads", {"threads": threads})
    create_views(connection, workspace)
    return connection


def create_views(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
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
    for view in ("label_rows", "counted_labels", "class_counts", *VIEWS):
        connection.execute((SQL_FOLDER / f"{view}.sql").read_text(encoding="utf-8"))


def one_line(error: duckdb.Error) -> str:
    """Return DuckDB's message without its drawing of the query."""
    lines = str(error).splitlines()
    return " ".join(line.strip() for line in lines if line.strip(" ^") and not line.startswith("LINE "))


def describe_views() -> list[ViewDescription]:
    """Return what the public views hold, from the heads of their files."""
    return [_describe(view) for view in VIEWS]


def _describe(view: str) -> ViewDescription:
    lines = (SQL_FOLDER / f"{view}.sql").read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"--   (\w+) +(.+)", line) for line in lines]
    columns = [match.groups() for match in matches if match]
    return ViewDescription(
        name=view, row=lines[0].removeprefix("-- "), columns=tuple((name, text) for name, text in columns)
    )


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
    remote = {one for locations in catalog.files.values() for one in locations if not files.is_local(one)}
    for location in {location.split("://")[0]: location for location in sorted(remote)}.values():
        connection.register_filesystem(open_filesystem(location)[0])
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
