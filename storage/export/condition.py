"""Which boxes leave: a condition in SQL over one box at a time, shut off from everything else.

In: what a user wrote after `--where`, such as "score > 0.7 and class = 'ring'"; boxes as columns named as in the
view `boxes`. Out: a mask. The condition can neither read nor write anything: its database lives in memory and
holds no table, access to files and Python's variables is off, no extension is loaded, the settings are locked,
and DuckDB parses it as one expression, so that no second statement fits in. Subqueries are refused: a box is
judged by its own columns, so the answer does not depend on how a round is cut into files.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage import boxes
from storage.labels import Labels
from storage.rounds.round import RoundInfo
from storage.tables.schemas import LABEL_SCHEMA

LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # a batch is small
    "lock_configuration": "true",
}

_PLACE = "box_number"


class Condition:
    """A condition that was checked; use it in one thread."""

    def __init__(self, where: str) -> None:
        """Check a condition. Raises ValueError saying what is wrong with it and which columns there are."""
        self.where = where
        self._connection = duckdb.connect(config=dict[str, Any](LOCKED))
        empty = box_table(LABEL_SCHEMA.empty_table(), Labels.empty(0), None, np.zeros(0))
        self._columns = ", ".join(empty.column_names)
        self._require_plain_expression()
        self.holds(empty)

    def holds(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return for which rows of a `box_table` the condition holds; null counts as no.

        Raises ValueError when it cannot be computed for some row.
        """
        numbered = table.append_column(_PLACE, pa.array(np.arange(len(table))))
        try:
            # filter() takes an expression and nothing else: DuckDB's own parser refuses statements here
            kept = self._connection.from_arrow(numbered).filter(self.where).to_arrow_table()
        except duckdb.Error as error:
            raise self._error(str(error).splitlines()[0]) from None
        mask_N = np.zeros(len(table), np.bool_)
        mask_N[kept[_PLACE].to_numpy()] = True
        return mask_N

    def _require_plain_expression(self) -> None:
        query = "SELECT json_serialize_sql('SELECT ' || $where)"  # parses and runs nothing
        text = self._connection.execute(query, {"where": self.where}).fetchall()[0][0]
        parsed = json.loads(text)
        if parsed["error"]:
            syntax = parsed["error_type"] == "parser"
            got = parsed["error_message"] if syntax else "a second statement"
            raise self._error(f"expected a condition on a single box, got {got}")
        if '"class":"SUBQUERY"' in text:
            raise self._error("expected a condition on a single box, got a query inside it")

    def _error(self, message: str) -> ValueError:
        return ValueError(f"{message}: --where {self.where!r}; a box has the columns {self._columns}")


def box_table(
    table: pa.Table, labels: Labels, info: RoundInfo | None, thresholds: npt.NDArray[np.float64]
) -> pa.Table:
    """Return one row a box of a label table: the columns of the view `boxes` that a round has.

    `thresholds` are those of the classes; `info` may be missing where there are no rows.
    """
    classes = pa.array(info.classes if info else (), pa.string())
    boxes_N4 = labels.boxes_N4
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    areas_N = sides_N2.astype(np.float64).prod(axis=1)
    bins_N = np.digitize(areas_N, [boxes.SMALL_AREA, boxes.LARGE_AREA])
    images_N = pa.array(np.repeat(np.arange(len(table)), labels.counts()))
    categories_N = pa.array(labels.categories_N)
    number = len(boxes_N4)
    return pa.table(
        {
            "dataset": _constant(info.dataset_name if info else None, pa.string(), number),
            "key": table["key"].take(images_N),
            "image_id": table["image_id"].take(images_N),
            "class": classes.take(categories_N),
            "category": categories_N,
            "score": labels.scores_N,
            **{name: boxes_N4[:, side] for side, name in enumerate(("x1", "y1", "x2", "y2"))},
            "width": sides_N2[:, 0],
            "height": sides_N2[:, 1],
            "area": areas_N,
            "size_bin": pa.array(["small", "medium", "large"]).take(pa.array(bins_N)),
            "tiny": areas_N < boxes.TINY_AREA,
            "round": _constant(info.number if info else None, pa.int32(), number),
            "score_threshold": thresholds[labels.categories_N],
            "step": table["step"].take(images_N),
        }
    )


def _constant(value: object, kind: pa.DataType, number: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), number)
