"""The members of a tar file as its own headers tell them, also of a file that is damaged.

In: a way to read its bytes, and where headers ought to be. Out: `TarMembers`: the whole members in order, and the
gaps in which none can be read. Python's tarfile stops without a word at the first broken header; this goes on at
the next place where a header ought to be, so that one broken header costs one member.
"""

from __future__ import annotations

import tarfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(BLOCK)

ReadRange = Callable[[int, int], bytes]
"""(offset, length) to bytes; asked only for what lies inside the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file in a tar."""

    name: str
    offset: int
    """Where its bytes begin, behind its header."""
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Bytes in which no header could be read."""

    start: int
    stop: int | None
    """None: from `start` on nothing can be read, the file is truncated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TarMembers:
    """What the headers of a tar file say."""

    members: tuple[Member, ...]
    gaps: tuple[Gap, ...]

    def is_lost(self, header: int) -> bool:
        """Return whether a header at this offset would lie in a gap."""
        return any(gap.start <= header and (gap.stop is None or header < gap.stop) for gap in self.gaps)


def read_members(read: ReadRange, size: int, headers: Sequence[int]) -> TarMembers:
    """Return the members of a file of `size` bytes; `headers` are the ascending offsets where some ought to be."""
    members: list[Member] = []
    gaps: list[Gap] = []
    position = 0
    while position + BLOCK <= size:
        block = read(position, BLOCK)
        member = _member(block, position)
        if member is None:
            further = headers[bisect_right(headers, position) :]
            stop = next((one for one in further if _stands(read, one, size)), None)
            if stop is None and block == _ZEROS:
                if position + 2 * BLOCK > size:  # two such blocks mark the end
                    break
                return TarMembers(members=tuple(members), gaps=tuple(gaps))
            gaps.append(Gap(start=position, stop=size if stop is None else stop))
            if stop is None:
                return TarMembers(members=tuple(members), gaps=tuple(gaps))
            position = stop
        elif member.offset + member.size > size:
            break
        else:
            members.append(member)
            position = after(member.offset, member.size)
    gaps.append(Gap(start=position, stop=None))
    return TarMembers(members=tuple(members), gaps=tuple(gaps))


def after(offset: int, size: int) -> int:
    """Return where the header stands that follows a member's bytes."""
    return offset + -(-size // BLOCK) * BLOCK


def _stands(read: ReadRange, position: int, size: int) -> bool:
    """Return whether there is a header at this offset."""
    return position + BLOCK <= size and _member(read(position, BLOCK), position) is not None


def _member(block: bytes, position: int) -> Member | None:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return Member(name=info.name, offset=position + BLOCK, size=info.size)
