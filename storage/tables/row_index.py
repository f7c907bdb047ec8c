"""Which row of a table an image has: the one rule by which keys become rows.

In: a column in which every value stands once, such as the keys of an image table. Out: for any values their rows.
The column is sorted once (1.18 million keys: 0.4 s), so that asking again and again costs what is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Column: TypeAlias = pa.Array | pa.ChunkedArray


class RowIndex:
    """The rows of a column by their values."""

    def __init__(self, column: Column) -> None:
        """Sort a column of texts or whole numbers."""
        self._type = column.type
        values = _sortable(column)
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def rows(self, values: Column | Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the row of each value; -1 where it does not stand in the column."""
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(values, self._type)
        wanted = _sortable(values)
        if not len(self._sorted):
            return np.full(len(wanted), -1)
        # as wide as the column: else numpy widens the whole column in each call
        places = np.searchsorted(self._sorted, wanted.astype(self._sorted.dtype))
        places = np.minimum(places, len(self._sorted) - 1)
        return np.where(self._sorted[places] == wanted, self._order[places], -1)


def rows_by_value(column: pa.ChunkedArray) -> dict[Any, npt.NDArray[np.int64]]:
    """Return the rows of each value of a column, in order; the values in the order in which they come."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    numbers_R = encoded.indices.to_numpy()
    order_R = np.argsort(numbers_R, kind="stable")
    ends = np.cumsum(np.bincount(numbers_R, minlength=len(encoded.dictionary)))
    # not strict: of no values `split` makes one part
    return dict(zip(encoded.dictionary.to_pylist(), np.split(order_R, ends[:-1]), strict=False))


def _sortable(column: Column) -> npt.NDArray[Any]:
    """Return texts as bytes of one width, which numpy sorts and searches without a Python object each."""
    if pa.types.is_string(column.type):
        return np.asarray(column.cast(pa.binary()).to_numpy(zero_copy_only=False)).astype("S")
    return np.asarray(column.to_numpy(zero_copy_only=False))
