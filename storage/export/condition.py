"""Which boxes leave: a condition in SQL over one box at a time, shut off from everything else.

In: what a user wrote after `--where`, such as "score > 0.7 and class = 'ring'"; label tables. Out: a mask of their
boxes. DuckDB's parser says what the text is and its binder what it means, by the columns of `sql/boxes.sql`. The
condition can neither read, write nor change anything: its database lives in memory and holds no table, access to
files and to Python's variables is off, no extension is loaded, the settings are locked, only one expression is
taken, and in it neither a query nor a function that changes something or answers differently each time. So a box
is judged by its own columns, and the answer does not depend on how a round is cut into files.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import ConfigError
from storage.export.queries import query_text
from storage.memory_bound import bounded_memory
from storage.rounds.round import RoundInfo
from storage.tables.list_columns import offsets_of
from storage.tables.schemas import LABEL_SCHEMA

LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # a batch is small
    "memory_limit": "1GB",
    "temp_directory": "",
    "lock_configuration": "true",
}

MEMORY = 2_000_000_000
"""Bytes that a condition may take: DuckDB's own limit does not cover the lists and texts of one box."""

_BOX_NUMBER = "box_number"


class Condition:
    """A condition that was checked; use it in one thread."""

    def __init__(self, where: str) -> None:
        """Check a condition. Raises ConfigError saying what is wrong with it and which columns there are."""
        self.where = where
        self._connection = duckdb.connect(config=dict[str, Any](LOCKED))
        self._connection.register("label_rows", LABEL_SCHEMA.empty_table())
        self._connection.execute(query_text("boxes"))
        self._columns = ", ".join(name for name in self.boxes().columns if name != _BOX_NUMBER)
        self._require_plain_expression()
        try:
            # filter() takes an expression and nothing else: DuckDB's own parser refuses statements here
            with bounded_memory(MEMORY):
                self._chosen = self.boxes().filter(where).project(_BOX_NUMBER)
        except duckdb.Error as error:
            raise self._error(error) from None

    def use_round(self, info: RoundInfo, thresholds: npt.NDArray[np.float64]) -> None:
        """Say whose boxes come next; `thresholds` are those of the round's classes."""
        self._connection.execute(
            "SET VARIABLE round = $round",
            {
                "round": {
                    "dataset": info.dataset_name,
                    "number": info.number,
                    "classes": list(info.classes),
                    "thresholds": thresholds.tolist(),
                }
            },
        )

    def holds(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return for which boxes of a label table the condition holds; null counts as no.

        Raises ConfigError when it cannot be computed for some box.
        """
        self._connection.register("label_rows", table)
        try:
            with bounded_memory(MEMORY):
                chosen = self._chosen.fetchnumpy()[_BOX_NUMBER]
        except duckdb.Error as error:
            raise self._error(error) from None
        mask_N = np.zeros(int(offsets_of(table, "scores")[-1]), np.bool_)
        mask_N[np.asarray(chosen)] = True
        return mask_N

    def boxes(self) -> duckdb.DuckDBPyRelation:
        """Return what the condition sees of the last label table."""
        return self._connection.view("boxes")

    def _require_plain_expression(self) -> None:
        answer = self._connection.execute(query_text("parsed_condition"), {"condition": self.where})
        ((error_type, message, has_query, volatile),) = answer.fetchall()
        got = "a second statement" if error_type else None
        if error_type == "parser":
            got = message
        elif has_query:
            got = "a query inside it"
        elif volatile:
            got = f"{volatile}(), which changes something or answers differently each time"
        if got:
            raise self._error(f"expected a condition on a single box, got {got}")

    def _error(self, what: str | duckdb.Error) -> ConfigError:
        message = str(what).splitlines()[0]
        return ConfigError(f"{message}: --where {self.where!r}; a box has the columns {self._columns}")
