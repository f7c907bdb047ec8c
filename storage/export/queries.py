"""The queries of `sql/` over labels on their way out: DuckDB writes the files.

In: labeled images as they come, the name of a query, its parameters. Out: the file that the query's COPY writes, or
a text an image for the formats that keep a file an image. Guaranteed: rows in the order of the images; some images
are in memory at a time, never a round; an error of the images' source is raised as it is, a file that cannot be
written is an OSError with its name, and Ctrl-C is KeyboardInterrupt.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.errors import system_error
from storage.export.labeled_images import IMAGE_SCHEMA, LABELED_SCHEMA, LabeledImages

SQL_FOLDER = Path(__file__).parent / "sql"


def query_text(name: str) -> str:
    """Return a query of `sql/`."""
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def copy_labels(query: str, batches: Iterable[LabeledImages], path: Path, **parameters: object) -> pa.Table:
    """Write the file of a query over `labeled`, and return the images (IMAGE_SCHEMA)."""
    images = [IMAGE_SCHEMA.empty_table()]
    failures: list[BaseException] = []

    def record_batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                images.append(batch.images)
                yield from batch.table().to_batches()
        except BaseException as error:  # Arrow's stream passes only the text of an error on
            failures.append(error)
            raise

    with _connect() as connection:
        connection.register("labeled", pa.RecordBatchReader.from_batches(LABELED_SCHEMA, record_batches()))
        connection.execute(query_text("coco_boxes"))
        with _errors_of_copy(path, failures):
            connection.execute(query_text(query), {**parameters, "path": str(path)})
    return pa.concat_tables(images)


def copy_images(query: str, images: pa.Table, path: Path) -> None:
    """Write the file of a query over `images`."""
    with _connect() as connection:
        connection.register("images", images)
        with _errors_of_copy(path):
            connection.execute(query_text(query), {"path": str(path)})


def image_texts(
    query: str, batches: Iterable[LabeledImages], **parameters: object
) -> Iterator[tuple[LabeledImages, list[str]]]:
    """Yield the images as they come, with the text of each by a query over `labeled`."""
    text = query_text(query)
    with _connect() as connection:
        for batch in batches:
            connection.register("labeled", batch.table())
            yield batch, [text for (text,) in connection.execute(text, parameters).fetchall()]


def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": "1"})  # the source of the images is one


@contextmanager
def _errors_of_copy(path: Path, failures: Sequence[BaseException] = ()) -> Iterator[None]:
    """Raise what ended a COPY as Python would: DuckDB has classes of its own, and passes only texts on."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if failures:
            raise failures[0] from None
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        if isinstance(error, duckdb.IOException):
            raise _os_error(error, path) from error
        raise


def _os_error(error: duckdb.IOException, path: Path) -> OSError:
    """Return the error that the system had, or one with DuckDB's message; it names the path."""
    failure = system_error(str(error)) or OSError(errno.EIO, str(error).splitlines()[0])
    return OSError(failure.errno, failure.strerror, str(path))
