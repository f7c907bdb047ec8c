"""Threads that can write nowhere but below some folders: a bound kept by the kernel, not by whoever would write.

In: folders. Out: from then on this thread, and every thread that it starts, can open no other file for writing, and
make, rename and remove nothing elsewhere; files that are open stay so, other threads are not touched. Guaranteed:
there is no way back. Where the system has no such bound (Landlock: Linux 5.13 and newer, where it is not switched
off), nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, of the same numbers on every architecture (linux/landlock.h)."""
_ASK_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38

_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_LATER = {2: 1 << 13, 3: 1 << 14}
"""Rights that a later version of the interface knows: to rename between folders, to truncate."""


def forbid_writing(*folders: str) -> bool:
    """Keep this thread from writing anywhere but below `folders`; return whether the system does that."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    later = sum(right for since, right in _LATER.items() if version >= since)
    rights = _WRITE_FILE | _REMOVE_AND_MAKE | later
    attributes = struct.pack("=Q", rights)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for folder in folders:
            _allow(libc, ruleset, folder, rights)
        _checked(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))  # without it only root may restrict itself
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, folder: str, rights: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "landlock")
    return answer
