"""The views as a small database file, for the DuckDB command line, DBeaver or any other client of DuckDB.

In: a folder or a `Workspace`. Out: one `.duckdb` file that holds no label: its views read the Parquet files where
they lie, by absolute path, so it stays small and says what the files say. Guaranteed: the file appears whole or
not at all. Which files there are, rounds and classes are those of the moment: write it again after new labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import duckdb

from storage import files
from storage.database.connect import create_views
from storage.database.workspace import Workspace, discover
from storage.errors import ConfigError, names_location, system_error
from storage.temporaries import temporary_folder

FORMAT = "v1.0.0"
"""Oldest DuckDB file format, so that older clients can open it."""

_TAKEN = ("main", "system", "temp", "workspace")
"""Schemas: a database of such a name could not tell itself from them."""


def write_catalog(root: str | Workspace, location: str) -> None:
    """Write the database file; a catalog that is there is replaced.

    Raises ConfigError when the location is remote, its name that of a schema,
    or another kind of file is there.
    """
    if not files.is_local(location):
        raise ConfigError(f"expected a local file for the catalog, got {location}; copy it there afterwards")
    name = files.local_path(location).name.split(".")[0]
    if name in _TAKEN:
        raise ConfigError(
            f"expected a file name that is no schema of the catalog ({', '.join(_TAKEN)}), got {location}; "
            "choose another, such as labels.duckdb"
        )
    if files.exists(location) and not _is_catalog(location):
        raise ConfigError(
            f"expected a new file or an older catalog, got another file there: {location}; name another one"
        )
    workspace = discover(root) if isinstance(root, str) else root
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "storage_compatibility_version": FORMAT,
        "default_block_size": "16384",
    }
    final = files.local_path(location)
    files.make_folder(str(final.parent))
    files.remove_leftovers(str(final.parent), name=final.name)
    # a folder: DuckDB takes no empty file, and writes a log beside its own
    with names_location(location), temporary_folder(final) as folder:
        database = folder / final.name
        with _errors_of_system(), duckdb.connect(str(database), config=settings) as connection:
            create_views(connection, workspace, comments=True)
            connection.execute("CHECKPOINT")
        files.sync(database)
        database.replace(final)
        files.sync(final.parent)


@contextlib.contextmanager
def _errors_of_system() -> Iterator[None]:
    """Raise what a full disk or a folder without access made of a statement as the system's own error."""
    try:
        yield
    except duckdb.Error as error:
        if failure := system_error(str(error)):
            raise failure from error
        raise


def _is_catalog(location: str) -> bool:
    """Return whether a file is a database with the schema that only a catalog has."""
    try:
        with duckdb.connect(str(files.local_path(location)), read_only=True) as connection:
            [(count,)] = connection.execute(
                "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'workspace'"
            ).fetchall()
    except duckdb.Error:
        return False
    return bool(count)
