"""Local files opened for reading: regular ones only, so that nothing waits for bytes and nothing is without end.

In: a path. Out: an open file and its size, or its bytes. Guaranteed: a fifo, a device, a socket or a folder in the
place of a file is a NotRegularError, at once and by its path; links are followed, what they name is held to the
same. One look at the open file costs 1 µs, and no other file can take its place after it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_WHOLE_BYTES = 8 << 30
"""Largest file that is read whole: tables, heads, lists and single images. Shards and annotation files may be
larger; they are read in ranges and mapped."""

_KINDS = (
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularError(OSError):
    """What stands in the place of a file cannot be read as one: a fifo, a device, or far too many bytes."""


def open_descriptor(path: Path) -> tuple[int, int]:
    """Return a descriptor of a regular file and its size. Raises NotRegularError, IsADirectoryError, OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:  # without the flag a fifo that nobody writes to would keep `open` waiting
        descriptor = os.open(path, flags | os.O_NONBLOCK)
    except BlockingIOError:  # a file that is leased to another client of a file server: it comes back
        require_regular(path)
        descriptor = os.open(path, flags)
    try:
        return descriptor, _regular_size(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise


def open_regular(path: Path) -> BinaryIO:
    """Return a regular file, open for reading."""
    return os.fdopen(open_descriptor(path)[0], "rb")


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file, as many as it has when it is opened."""
    descriptor, size = open_descriptor(path)
    with os.fdopen(descriptor, "rb") as file:
        if size > MAX_WHOLE_BYTES:
            raise _not_regular(f"{size:,} bytes where at most {MAX_WHOLE_BYTES:,} are read", path)
        return file.read(size)


def read_regular_range(path: Path, offset: int, length: int) -> bytes:
    """Return up to `length` bytes of a regular file from `offset`; fewer where it ends before."""
    descriptor, size = open_descriptor(path)
    try:
        left = min(length, max(0, size - offset))  # a wrong length in a table must not ask for all memory
        data = b""
        while left and (more := os.pread(descriptor, left, offset + len(data))):
            data, left = data + more if data else more, left - len(more)
        return data
    finally:
        os.close(descriptor)


def require_regular(path: Path) -> None:
    """Raise an OSError unless a regular file is there, for those who open it themselves."""
    _regular_size(path.stat(), path)


def _regular_size(status: os.stat_result, path: Path) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise _not_regular(f"{kind} in place of a regular file", path)
    return status.st_size


def _not_regular(what: str, path: Path) -> NotRegularError:
    return NotRegularError(errno.EINVAL, what, str(path))
