"""The encoded bytes of samples, as they lie in the shards.

In: row numbers of a data set's image table. Out: the bytes of each image as they stand in its shard, or a
named error: which image, which shard, what is wrong, and which other rows are lost with it. `read_samples` gives
the bytes of a whole batch, or one error that names every image missing from it. With `check_bytes` no image is
given whose bytes are not those that the image table was written with (0.1 ms for 100 kB).

Local shards are read through open file handles, so a shard that is deleted while training stays readable
until its handle is given up. Shards at a URL are read by byte range, a few at a time, and tried again when
the network fails. Nothing is decoded here.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from storage.dataset.dataset import Dataset
from storage.files import is_local, local_path, read_range
from storage.regular import open_descriptor

Encoded = npt.NDArray[np.uint8]

MAX_OPEN_SHARDS = 64
REMOTE_READS = 8
"""Byte ranges of remote shards that are asked for at once."""
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""The process or the machine has run out of something; no shard must be blamed."""


class SampleUnreadableError(Exception):
    """An image of a data set cannot be read or decoded. A run sets it aside and goes on."""

    def __init__(
        self, *, key: str, shard: str, reason: str, rows: Sequence[int], lasting: bool = False
    ) -> None:
        """`rows` are the rows of the image table lost by the same cause: one, or many of a broken shard.

        A `lasting` reason lies in the image as it was written; no copy or repair of the shard takes it away.
        """
        self.key, self.shard, self.reason, self.rows, self.lasting = key, shard, reason, tuple(rows), lasting
        others = f" and {len(rows) - 1} more images of it" if len(rows) > 1 else ""
        super().__init__(f"image {key} in {shard}{others}: {reason}")


class UnreadableBatchError(Exception):
    """Some images of a batch cannot be used."""

    def __init__(self, errors: Sequence[SampleUnreadableError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, errors)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """The encoded images of one batch."""

    rows: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    encoded: list[Encoded]
    sizes_B2: npt.NDArray[np.int64]
    """(height, width) as decoded."""


class ImageReader(Protocol):
    """What gives the bytes of images by their rows."""

    name: str
    keys: list[str]
    image_ids_R: npt.NDArray[np.int64]
    image_sizes_R2: npt.NDArray[np.int64]
    """(height, width) of each image as decoded."""

    def rows_of(self, shard: str) -> npt.NDArray[np.int64]:
        """Return the rows of a shard, in order."""

    def read(self, rows: Sequence[int]) -> list[Encoded | SampleUnreadableError]:
        """Return the bytes of each row, or why they cannot be had, in the order asked for."""

    def undecodable(self, row: int, encoded: Encoded, reason: str) -> SampleUnreadableError:
        """Return the error of an image that does not decode."""


class SampleReader:
    """Reads the bytes of a data set's images; belongs to one thread."""

    def __init__(self, dataset: Dataset, *, check_bytes: bool = False) -> None:
        """Look at the image table; with `check_bytes` every image that is read is held against its sha256."""
        table = dataset.images()
        self._check_bytes = check_bytes
        self._sha256_R = table["sha256"]
        self.name = dataset.name
        self.keys: list[str] = table["key"].to_pylist()
        self.image_ids_R: npt.NDArray[np.int64] = table["image_id"].to_numpy()
        sides = [table[side].to_numpy().astype(np.int64) for side in ("height", "width")]
        self.image_sizes_R2: npt.NDArray[np.int64] = np.stack(sides, axis=1)
        """(height, width) of each image as decoded."""
        names = table["shard"].to_numpy(zero_copy_only=False)
        self.shard_names, self.shards_R = np.unique(names, return_inverse=True)
        self._offsets_R = table["offset"].to_numpy().astype(np.int64)
        self._sizes_R = table["size"].to_numpy().astype(np.int64)
        self._paths = [dataset.shard_path(str(name)) for name in self.shard_names]
        self._open: OrderedDict[int, tuple[int, int]] = OrderedDict()  # descriptor and size
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def read(self, rows: Sequence[int]) -> list[Encoded | SampleUnreadableError]:
        """Return the bytes of each row, or why they cannot be had, in the order asked for."""
        if all(is_local(self._paths[self.shards_R[row]]) for row in rows):
            return [self._checked(row, self._read_local(row)) for row in rows]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(REMOTE_READS, thread_name_prefix="shard-read")
        return list(self._pool.map(lambda row: self._checked(row, self._read_remote(row)), rows))

    def rows_of(self, shard: str) -> npt.NDArray[np.int64]:
        """Return the rows of a shard, given its file name, in order."""
        return self._rows_by_shard.get(shard, np.zeros(0, np.int64))

    def unreadable(
        self, row: int, reason: str, rows: Sequence[int] | None = None, *, lasting: bool = False
    ) -> SampleUnreadableError:
        """Return the error that names a row, its shard and what is wrong with it."""
        return SampleUnreadableError(
            key=self.keys[row],
            shard=self._paths[self.shards_R[row]],
            reason=reason,
            rows=[row] if rows is None else rows,
            lasting=lasting,
        )

    def undecodable(self, row: int, encoded: Encoded, reason: str) -> SampleUnreadableError:
        """Return the error of an image that does not decode: its bytes were changed since, or never did."""
        if change := self._change(row, encoded):
            return self.unreadable(row, f"cannot be decoded ({reason}): {change}")
        why = f"cannot be decoded ({reason}), and its bytes are those that the set was written with"
        return self.unreadable(row, why, lasting=True)

    def close(self) -> None:
        """Close every shard. The reader can be used again."""
        while self._open:
            os.close(self._open.popitem()[1][0])
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> SampleReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _rows_by_shard(self) -> dict[str, npt.NDArray[np.int64]]:
        """The rows of every shard, sorted out at once: whoever asks for one shard asks for all of them."""
        rows = rows_by_shard(self.shards_R, len(self.shard_names))
        return dict(zip(self.shard_names.tolist(), rows, strict=True))

    def _checked(self, row: int, image: Encoded | SampleUnreadableError) -> Encoded | SampleUnreadableError:
        """Return an image whose bytes are those of the image table, or why it is none."""
        if not self._check_bytes or isinstance(image, SampleUnreadableError):
            return image
        change = self._change(row, image)
        return image if change is None else self.unreadable(row, change)

    def _change(self, row: int, encoded: Encoded) -> str | None:
        """Return what tells bytes from those that the set was written with, None where nothing does."""
        expected, got = self._sha256_R[row].as_py(), hashlib.sha256(encoded.data).hexdigest()
        if got == expected:
            return None
        return (
            f"its bytes were changed since the set was written (sha256 {got[:12]}, expected {expected[:12]}); copy "
            "the shard again from where it is whole"
        )

    def _read_local(self, row: int) -> Encoded | SampleUnreadableError:
        shard = int(self.shards_R[row])
        try:
            handle, length = self._handle(shard)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            reason = f"the shard cannot be opened ({error.strerror})"
            return self.unreadable(row, reason, np.flatnonzero(self.shards_R == shard).tolist())
        offset, size = int(self._offsets_R[row]), int(self._sizes_R[row])
        if offset + size > length and offset + size > os.fstat(handle).st_size:  # before memory is asked for
            return self._truncated(row, os.fstat(handle).st_size)
        try:
            data = os.pread(handle, size, offset)
        except OSError as error:
            return self.unreadable(row, f"the shard cannot be read ({error.strerror})")
        if len(data) < size:
            return self._truncated(row, os.fstat(handle).st_size)
        return np.frombuffer(data, np.uint8)

    def _truncated(self, row: int, length: int) -> SampleUnreadableError:
        ends_R = self._offsets_R + self._sizes_R
        lost = np.flatnonzero((self.shards_R == self.shards_R[row]) & (ends_R > length))
        return self.unreadable(
            row,
            f"the shard is truncated: it ends at byte {length}, the image at {ends_R[row]}",
            lost.tolist(),
        )

    def _handle(self, shard: int) -> tuple[int, int]:
        if shard not in self._open:
            self._open[shard] = open_descriptor(local_path(self._paths[shard]))
            if len(self._open) > MAX_OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1][0])
        self._open.move_to_end(shard)
        return self._open[shard]

    def _read_remote(self, row: int) -> Encoded | SampleUnreadableError:
        shard = int(self.shards_R[row])
        size = int(self._sizes_R[row])
        try:
            data = read_range(self._paths[shard], int(self._offsets_R[row]), size)
        except FileNotFoundError:
            return self.unreadable(
                row, "the shard does not exist", np.flatnonzero(self.shards_R == shard).tolist()
            )
        except OSError as error:
            return self.unreadable(row, f"the shard cannot be read ({error})")
        return np.frombuffer(data, np.uint8)


def read_samples(reader: ImageReader, rows: npt.NDArray[np.int64]) -> Samples:
    """Return the bytes of these rows. Raises UnreadableBatchError."""
    encoded, errors = [], []
    for image in reader.read(rows.tolist()):
        if isinstance(image, SampleUnreadableError):
            errors.append(image)
        else:
            encoded.append(image)
    if errors:
        raise UnreadableBatchError(errors)
    return Samples(
        rows=rows,
        keys=tuple(reader.keys[row] for row in rows),
        encoded=encoded,
        sizes_B2=reader.image_sizes_R2[rows],
    )


def rows_by_shard(shards_R: npt.NDArray[np.integer[Any]], num_shards: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each shard in order, given the number of every row's shard."""
    ends = np.cumsum(np.bincount(shards_R, minlength=num_shards))
    return np.split(np.argsort(shards_R, kind="stable"), ends[:-1])
