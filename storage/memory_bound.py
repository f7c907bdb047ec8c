"""A bound on what a block of code may allocate, kept by the system and not by whoever allocates.

In: bytes. Out: within the block an allocation that would take the process further beyond what it had is refused, so
that it ends with MemoryError, or DuckDB's OutOfMemoryException, and not with the machine. DuckDB's own
`memory_limit` covers what it can spill; lists and texts of a single row are beyond it: one took 17 GB. Guaranteed:
the bound before is back afterwards. Where the system has no such bound (only Linux counts data as it is used),
nothing happens.
"""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")


@contextlib.contextmanager
def bounded_memory(num_bytes: int) -> Iterator[None]:
    """Let the process take at most this much more memory within the block."""
    in_use = _data_bytes()
    if in_use is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in (soft, in_use + num_bytes) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int | None:
    try:
        match = re.search(r"^VmData:\s+(\d+) kB", _STATUS.read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1024
