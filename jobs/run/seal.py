"""Files that end with the sha256 of all that stands before it.

In: an open file to write to, and what is written; later the file again. Out: the same bytes and the seal behind
them; and whether they are still those. Guaranteed: written in one pass, checked in one pass; readers of zip
archives, torch among them, pass over what stands behind the archive.
"""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

_MARK = b"\nmixpl sha256 "
SEAL_BYTES = len(_MARK) + 64
_BLOCK = 1 << 20


class SealingFile(io.RawIOBase):
    """Passes on what is written, and adds the seal at the end; whoever gave the file closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write bytes."""
        self._digest.update(data)
        return self._file.write(data)

    def seal(self) -> None:
        """Write the seal; nothing comes behind it."""
        self._file.write(_MARK + self._digest.hexdigest().encode())


def is_unbroken(file: BinaryIO) -> bool | None:
    """Return whether a file has the bytes that its seal speaks of; None where it has no seal."""
    end = file.seek(0, io.SEEK_END) - SEAL_BYTES
    if end < 0:
        return None
    file.seek(end)
    seal = file.read(SEAL_BYTES)
    if not seal.startswith(_MARK):
        return None
    file.seek(0)
    digest = hashlib.sha256()
    while end:
        block = file.read(min(end, _BLOCK))
        digest.update(block)
        end -= len(block)
    return digest.hexdigest().encode() == seal.removeprefix(_MARK)
