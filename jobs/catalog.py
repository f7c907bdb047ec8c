"""`mixpl catalog out.duckdb`: the views as a small database file for any client of DuckDB.

In: the folder below which data sets, rounds and runs lie. Out: a file whose views read the Parquet files in
place. Open it with `duckdb out.duckdb`, DBeaver, or `duckdb.connect("out.duckdb", read_only=True)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

import tyro

from jobs.console.questions import report_left_out
from storage import files
from storage.database.catalog_file import write_catalog
from storage.database.connect import VIEWS
from storage.database.workspace import discover


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogConfig:
    """Where the views go."""

    out: tyro.conf.Positional[str]
    """The database file to write; an older catalog is replaced, another file is not."""
    root: str = "."
    """Folder below which data sets, label rounds and runs are looked for."""


def catalog(config: CatalogConfig) -> None:
    """Write the file and say how to open it."""
    workspace = discover(config.root)
    report_left_out(workspace)
    write_catalog(workspace, config.out)
    print(
        f"{config.out}: {len(VIEWS)} views over {len(workspace.datasets)} data sets, "
        f"{len(workspace.rounds)} rounds and {len(workspace.runs)} runs, {files.size(config.out) / 1024:,.0f} KB; "
        f'try: duckdb -readonly {quote(config.out)} "from rounds"'
    )
