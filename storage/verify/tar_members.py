"""The members of a tar file as its own headers tell them, also of a file that is damaged.

In: an open file and its size. Out: `TarMembers`: the whole members in order, and the gaps in which no header can be
read. One broken header costs one member: `tarfile` reads on at the next block that is a header.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * BLOCK)
"""Two blocks of zeros mark the end of a tar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file in a tar."""

    name: str
    offset: int
    """Where its bytes begin, behind its header."""
    size: int
    is_file: bool = True
    """Whether it is no link, device or folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Bytes in which no header can be read."""

    start: int
    stop: int | None
    """None: from `start` on nothing can be read, the file is truncated."""

    def covers(self, offset: int) -> bool:
        """Return whether a header at this offset would lie in the gap."""
        return self.start <= offset and (self.stop is None or offset < self.stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class TarMembers:
    """What the headers of a tar file say."""

    members: tuple[Member, ...]
    gaps: tuple[Gap, ...]

    def is_lost(self, header: int) -> bool:
        """Return whether a header at this offset would lie in a gap."""
        return any(gap.covers(header) for gap in self.gaps)


def read_members(file: BinaryIO) -> TarMembers:
    """Return the members of a file, each with the place that its own header says."""
    size = file.seek(0, os.SEEK_END)
    members: list[Member] = []
    gaps: list[Gap] = []
    position = 0  # where the next header ought to be
    file.seek(position)
    with (
        contextlib.suppress(tarfile.ReadError),  # the file ends within a member, or holds none
        tarfile.open(fileobj=file, mode="r:", ignore_zeros=True) as tar,
    ):
        for info in tar:
            if info.offset > position:
                gaps.append(Gap(start=position, stop=info.offset))
            if info.offset_data + info.size > size:
                gaps.append(Gap(start=info.offset, stop=None))
                return TarMembers(members=tuple(members), gaps=tuple(gaps))
            member = Member(
                name=info.name,
                offset=info.offset_data,
                size=info.size if info.isreg() else 0,
                is_file=info.isreg(),
            )
            members.append(member)
            position = after(info.offset_data, member.size)
    file.seek(position)
    tail = file.read(len(_END))
    if tail != _END:
        cut = len(tail) < BLOCK or _END.startswith(tail)
        gaps.append(Gap(start=position, stop=None if cut else size))
    return TarMembers(members=tuple(members), gaps=tuple(gaps))


def after(offset: int, size: int) -> int:
    """Return where the header stands that follows a member's bytes."""
    return offset + -(-size // BLOCK) * BLOCK
