"""Numbers as text, many at a time.

In: numpy arrays. Out: Arrow string arrays, and lines joined of them: a line a box without a Python call a number.
A float32 becomes its shortest decimal text, which reads back as the same float32.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def shortest(values_N: npt.NDArray[Any]) -> pa.Array:
    """Return the shortest text of each number that reads back as the same number of the array's type."""
    return pc.cast(pa.array(np.ascontiguousarray(values_N)), pa.string())


def exact_decimals(values_N: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the numbers that the shortest texts say: 10.1 for the float32 that is 10.100000381."""
    texts = pc.cast(pa.array(np.ascontiguousarray(values_N).reshape(-1)), pa.string())
    return np.asarray(pc.cast(texts, pa.float64()).to_numpy()).reshape(values_N.shape)


def rounded(values_N: npt.NDArray[np.floating[Any]], digits: int) -> pa.Array:
    """Return the text of each number with at most so many digits behind the point."""
    return shortest(np.round(values_N, digits))


def names(values: tuple[str, ...], indices_N: npt.NDArray[Any]) -> pa.Array:
    """Return one of the texts for each index."""
    return pa.array(values, pa.string()).take(pa.array(indices_N))


def joined(*parts: str | pa.Array) -> list[str]:
    """Return the texts one behind the other, row by row; a plain text stands in every row.

    At least one part is an array.
    """
    return list(pc.binary_join_element_wise(*parts, "").to_pylist())


def quoted(text: str) -> str:
    """Return the text as JSON, which YAML reads too."""
    return json.dumps(text, ensure_ascii=False)
