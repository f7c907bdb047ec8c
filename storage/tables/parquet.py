"""The one way in which a table becomes a Parquet file and is read back: encoded in memory, written atomically.

In: an Arrow table and a location, a path or URL. Out: a file that exists completely or not at all, with a checksum
a page; of a damaged one an error out of `UNREADABLE`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.errors import StoreError, names_location

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a missing or damaged table raises: Arrow reports bad pages as OSError, bad types in its own way, and
leaves bad names of columns to Python."""
THREADED_BYTES = 16 << 20
"""Size of a table from which on several threads read it; below, starting them gains nothing."""


def write_parquet(location: str, table: pa.Table, *, compression: str = "snappy") -> str:
    """Write a table, with the metadata of its schema and a checksum a page; return the sha256 of the file."""
    data = encode_parquet(table, compression=compression)
    files.write_atomic(location, data)
    return hashlib.sha256(data).hexdigest()


def read_parquet(location: str) -> pa.Table:
    """Return a whole table. Raises FileNotFoundError, or another of `UNREADABLE` when it is damaged."""
    with names_location(location):
        return read_columns(open_parquet(location))


def open_parquet(location: str) -> pq.ParquetFile:
    """Return a file of which only the footer is read. Raises as `read_parquet` does."""
    return parse_parquet(files.read_bytes(location))


def parse_parquet(data: bytes, *, check_pages: bool = True) -> pq.ParquetFile:
    """Return the file of these bytes; `check_pages` looks at the checksum of every page that is read.

    Its bytes lie in Arrow's memory: the last of Arrow's threads to let go of a Python object, while Python ends,
    would end the process with "terminate called without an active exception".
    """
    memory = pa.BufferOutputStream()
    memory.write(data)
    return pq.ParquetFile(pa.BufferReader(memory.getvalue()), page_checksum_verification=check_pages)


def read_columns(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Return some or all columns of an open file; a small one is read without a thread, which could outlive it."""
    groups = range(file.metadata.num_row_groups)
    num_bytes = sum(file.metadata.row_group(group).total_byte_size for group in groups)
    return file.read(columns=list(columns) if columns else None, use_threads=num_bytes > THREADED_BYTES)


def with_schema(
    table: pa.Table, schema: pa.Schema, *, where: str, remedy: str, nullable: Collection[str] = ()
) -> pa.Table:
    """Return the columns of a schema, each of its type. Raises StoreError naming the first that is not so."""
    columns = []
    for field in schema:
        if table.column_names.count(field.name) != 1:
            raise StoreError(
                f"expected a column {field.name}, got {', '.join(table.column_names) or 'none'}: {where}; {remedy}"
            )
        column = table[field.name]
        if column.null_count and field.name not in nullable:
            raise StoreError(
                f"expected no nulls in column {field.name}, got {column.null_count:,}: {where}; {remedy}"
            )
        columns.append(_cast(column, field, where, remedy))
    return pa.Table.from_arrays(columns, schema=schema.with_metadata(table.schema.metadata))


def _cast(column: pa.ChunkedArray, field: pa.Field, where: str, remedy: str) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise StoreError(
            f"expected {field.type} in column {field.name}, got {column.type} ({reason(error)}): {where}; {remedy}"
        ) from None


def reason(error: Exception) -> str:
    """Return what an error of `UNREADABLE` says, on one line and without its path."""
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split())


def encode_parquet(table: pa.Table, *, compression: str) -> bytes:
    """Return the bytes of the Parquet file that holds a table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())
