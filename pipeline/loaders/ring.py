"""The pixels of the last strong views, oldest first.

In: the strong views of each step, as DALI made them (uint8, height x width x RGB, ragged). Out: the same
memory, not copied, by position. Positions are those of `LabelCache`, which holds the labels of the same
images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class ViewCache:
    """The last `capacity` strong views; one that falls out is freed."""

    def __init__(self, capacity: int) -> None:
        self._images: deque[Any] = deque(maxlen=capacity)

    def __len__(self) -> int:
        """Return the number of views held."""
        return len(self._images)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return (height, width) of each view held."""
        return np.array([image.shape[:2] for image in self._images], np.int64).reshape(-1, 2)

    def take(self, positions: Iterable[int]) -> list[Any]:
        """Return the views at these positions; 0 is the oldest."""
        return [self._images[position] for position in positions]

    def push(self, images: Sequence[Any]) -> None:
        """Append the views of one step; the oldest beyond the capacity fall out."""
        self._images.extend(images)

    def clear(self) -> None:
        """Free everything."""
        self._images.clear()
