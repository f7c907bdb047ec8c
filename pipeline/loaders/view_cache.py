"""The pixels of the last strong views, oldest first.

In: the strong views of each step, as DALI made them (uint8, height x width x RGB, ragged). Out: the same
memory, not copied, by position. Positions are those of `LabelCache`, which holds the labels of the same
images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.graphs.graph import Image


class ViewCache:
    """The last `capacity` strong views; one that falls out is freed."""

    def __init__(self, capacity: int) -> None:
        self._views: deque[tuple[str, Image]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        """Return the number of views held."""
        return len(self._views)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return (height, width) of each view held."""
        return np.array([image.shape[:2] for _, image in self._views], np.int64).reshape(-1, 2)

    def take(self, positions: Iterable[int]) -> list[Image]:
        """Return the views at these positions; 0 is the oldest."""
        return [self._views[position][1] for position in positions]

    def keys(self, positions: Iterable[int]) -> list[str]:
        """Return which images the views at these positions are of."""
        return [self._views[position][0] for position in positions]

    def push(self, keys: Sequence[str], images: Sequence[Image]) -> None:
        """Append the views of one step; the oldest beyond the capacity fall out."""
        self._views.extend(zip(keys, images, strict=True))

    def clear(self) -> None:
        """Free everything."""
        self._views.clear()
