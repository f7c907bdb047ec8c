"""Single image files in the place of a sharded data set, for predictions.

In: locations and names of image files. Out: `ImageFiles`, which the predict loader takes as it takes a data set;
its shards are windows of at most `WINDOW_IMAGES` images and about `WINDOW_BYTES`, which are in memory together.
Guaranteed: every image is checked as one is that enters a shard (`storage.image_check`), so that what is predicted
on is what a labeling job would have seen; one that cannot be used is named with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from pipeline.samples.reader import Encoded, SampleUnreadableError
from storage import files
from storage.errors import SourceError
from storage.image_check import check_image

WINDOW_IMAGES = 256
WINDOW_BYTES = 64 << 20


class ImageFiles:
    """Image files in order."""

    def __init__(self, locations: Sequence[str], names: Sequence[str], *, root: str) -> None:
        """`names` tell them apart; `root` says in messages where they come from."""
        self.locations, self.names, self.root = tuple(locations), tuple(names), root
        self.windows = _windows(locations)
        """The rows of each window."""
        self.shards = tuple(map(str, range(len(self.windows))))
        """The windows' numbers, as names."""


class FileReader:
    """Reads image files window by window; belongs to one thread."""

    def __init__(self, images: ImageFiles) -> None:
        self._images = images
        self.name = images.root
        self.keys = list(images.names)
        self.image_ids_R: npt.NDArray[np.int64] = np.arange(1, len(self.keys) + 1)
        self.image_sizes_R2 = np.ones((len(self.keys), 2), np.int64)
        """(height, width) of each image as decoded, once its window is asked for."""
        self._window: dict[int, Encoded | SampleUnreadableError] = {}

    def rows_of(self, shard: str) -> npt.NDArray[np.int64]:
        """Return the rows of a window, whose images are read and forget those of the one before."""
        rows = self._images.windows[int(shard)]
        self._window = {row: self._checked(row) for row in rows}
        return np.array(rows, np.int64)

    def read(self, rows: Sequence[int]) -> list[Encoded | SampleUnreadableError]:
        """Return the bytes of rows of the last window, or why they cannot be used."""
        return [self._window[row] for row in rows]

    def undecodable(self, row: int, encoded: Encoded, reason: str) -> SampleUnreadableError:  # noqa: ARG002
        """Return the error of an image that does not decode."""
        return self._unreadable(row, f"cannot be decoded ({reason})")

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window = {}

    def _checked(self, row: int) -> Encoded | SampleUnreadableError:
        try:
            data = files.read_bytes(self._images.locations[row])
            checked = check_image(data)
        except OSError as error:
            return self._unreadable(row, f"cannot be read ({error.strerror or error})")
        except SourceError as error:
            return self._unreadable(row, str(error))
        self.image_sizes_R2[row] = checked.height, checked.width
        return np.frombuffer(data, np.uint8)

    def _unreadable(self, row: int, reason: str) -> SampleUnreadableError:
        location = self._images.locations[row]
        return SampleUnreadableError(
            key=self.keys[row], shard=location, reason=reason, rows=[row], lasting=True
        )


def _windows(locations: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    windows: list[tuple[int, ...]] = []
    window: list[int] = []
    num_bytes = 0
    for row, location in enumerate(locations):
        if window and (len(window) == WINDOW_IMAGES or num_bytes >= WINDOW_BYTES):
            windows.append(tuple(window))
            window, num_bytes = [], 0
        window.append(row)
        num_bytes += _size(location)
    return (*windows, tuple(window)) if window else tuple(windows)


def _size(location: str) -> int:
    """Return the bytes of a local file; 0 where it is not there, and for a remote one, which would be asked for."""
    try:
        return files.size(location) if files.is_local(location) else 0
    except OSError:
        return 0
