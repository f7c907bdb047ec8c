"""One heap for the large buffers of graphs that work on the CPU, so that a process's size settles and stays.

In: nothing. Out: a process whose C library and DALI take every block from one heap, fit it into the smallest hole
there, and keep what the heap has grown to. No pixel changes.

A batch at the paper's sizes takes and frees about 430 MiB in blocks of 1 to 64 MiB, of other sizes each time. Left
alone, DALI keeps those of 32 MiB or more in a pool of its own, whose blocks double (60, 119, 238, 477 MiB, never
given back), and glibc spreads the others over a heap a thread, made of pieces of 64 MiB whose holes rarely fit:
memory creeps for thousands of batches. To give every freed block back at once costs twice the CPU time, all of it
in 110,000 page faults a batch. The figures stand in EXPERIMENTS.md.
"""

from __future__ import annotations

import ctypes
import functools
import os

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Names of mallopt's parameters, from <malloc.h>."""


@functools.cache
def use_one_heap() -> None:
    """Set it up, once in a process, before it starts a thread or runs a graph.

    Importing pyarrow starts one. A thread that has a heap of its own keeps it, and DALI makes its pool with the
    first graph: where either is there already, memory is only somewhat flatter.
    """
    os.environ.setdefault("DALI_MALLOC_POOL_THRESHOLD", "0")  # no pool; read at DALI's first allocation
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
        accepted = mallopt(parameter, value)
        assert accepted == 1, "glibc, which DALI needs, takes these values"
