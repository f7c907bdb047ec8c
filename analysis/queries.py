"""The questions of `analysis/sql/`, asked by name.

In: a connection to the label tables (`storage.database.connect.connect`), the name of a `.sql` file and its
parameters. Out: an Arrow table. The head of the file says what a row and a column mean, and which parameters
there are.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

SQL_FOLDER = Path(__file__).parent / "sql"


def ask(con: duckdb.DuckDBPyConnection, question: str, **parameters: object) -> pa.Table:
    """Return the answer to `analysis/sql/QUESTION.sql`."""
    query = (SQL_FOLDER / f"{question}.sql").read_text(encoding="utf-8")
    return con.sql(query, params=parameters).to_arrow_table()
