"""The queries of `sql/` over labels on their way out: DuckDB writes the files.

In: labeled images as they come, the name of a query, its parameters. Out: the file that the query's COPY writes, or
a text an image for the formats that keep a file an image. Guaranteed: rows in the order of the images; some images
are in memory at a time, never a round; an error of the images' source is raised as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

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
        try:
            connection.execute(query_text(query), {**parameters, "path": str(path)})
        except duckdb.Error:
            if failures:
                raise failures[0] from None
            raise
    return pa.concat_tables(images)


def copy_images(query: str, images: pa.Table, path: Path) -> None:
    """Write the file of a query over `images`."""
    with _connect() as connection:
        connection.register("images", images)
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
