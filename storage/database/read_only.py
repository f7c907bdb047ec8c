"""A user's query, which only reads: judged by DuckDB's parser, and run where nothing else could be done.

In: a connection, the text of one query. Out: the text to run, or ConfigError saying which part is refused; and the
connection locked. Guaranteed: no part of the query, however deep, is anything but a query (DuckDB also writes from
`WITH x AS (COPY …)` and `EXPLAIN ANALYZE COPY …`); of functions that give tables only known readers are called,
since some write or change settings; a locked connection opens only files below the root, loads no extension, sees
no variable of Python and changes no setting. What a later DuckDB adds is refused until it is named here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb

from storage import files
from storage.errors import ConfigError

_PARTS = Path(__file__).parent / "sql" / "query_parts.sql"

_READERS = re.compile(
    r"duckdb_\w+|pragma_\w+|parquet_\w+|read_(?!duckdb)\w+|json_each|json_tree|glob|sniff_csv|query_table|summary|"
    r"range|generate_series|unnest|repeat|repeat_row|icu_calendar_names|pg_timezone_names|test_all_types"
)
"""Functions that give tables and only read."""

_EXPLAIN = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\b\s*(?P<options>(?:analyze\b\s*)?(?:\(\s*(?:analyze|format)\b[^()]*\)\s*)?)"
    r"(?P<query>.*)",
    flags=re.IGNORECASE | re.DOTALL,
)


def reading_query(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return a query as it is to be run.

    Raises ConfigError unless it only reads, and duckdb.Error when it is no SQL.
    """
    kinds = [statement.type for statement in connection.extract_statements(query)]
    match kinds:
        case [duckdb.StatementType.SELECT]:
            _require_reading(connection, query)
            return query
        case [duckdb.StatementType.EXPLAIN] if match := _EXPLAIN.fullmatch(query):
            _require_reading(connection, match["query"])
            # put together anew: what was judged is what is run, wherever DuckDB sees comments end
            return f"EXPLAIN {match['options']}{match['query']}"
        case _:
            raise _refusal(", ".join(kind.name for kind in kinds) or "nothing")


def lock(connection: duckdb.DuckDBPyConnection, root: str) -> None:
    """Shut a connection with the views off from all but the files below `root` and those of the views, for good."""
    known = connection.execute("SELECT DISTINCT parse_dirpath(filename) FROM workspace.files").fetchall()
    folders = {root, *(folder for (folder,) in known)}
    # also where links lead to: DuckDB follows them before it compares
    local = {str(files.local_path(folder).absolute()) for folder in folders if files.is_local(folder)}
    folders = (
        {folder for folder in folders if not files.is_local(folder)}
        | local
        | set(map(os.path.realpath, local))
    )
    connection.execute("SET allowed_directories = $folders", {"folders": sorted(folders)})
    for setting in (
        "python_enable_replacements = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",  # last
    ):
        connection.execute(f"SET {setting}")


def _require_reading(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    answer = connection.execute(_PARTS.read_text(encoding="utf-8"), {"query": query})
    ((error, writing, table_functions, macros),) = answer.fetchall()
    if error is not None:
        raise _refusal(error)
    if writing is not None:
        raise _refusal(f"{writing.split('_')[0]} inside it")
    for name in table_functions:
        if not (_READERS.fullmatch(name.lower()) or name.lower() in macros):
            raise _refusal(f"{name}(), which is not known to read only")


def _refusal(got: str) -> ConfigError:
    return ConfigError(
        f"expected one query (SELECT, FROM, DESCRIBE, SUMMARIZE, EXPLAIN), got {got}: nothing is changed by "
        "`mixpl sql`; write answers with --output"
    )
