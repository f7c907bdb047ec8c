"""Where DuckDB puts what does not fit into memory: a hidden folder of this process, gone when it ends.

In: a folder, or none for the machine's folder for temporary files. Out: a folder in it that no other process uses.
Guaranteed: what killed processes left there is removed by the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
from pathlib import Path

from storage import files
from storage.temporaries import remove_leftovers, temporary_folder

_NAME = "mixpl-spill"
_OPEN = contextlib.ExitStack()
atexit.register(_OPEN.close)


def spill_folder(base: str | None) -> str:
    """Return the folder of this process; it stays until the process ends."""
    return _folder(base or tempfile.gettempdir(), os.getpid())


@functools.cache
def _folder(base: str, process: int) -> str:
    assert process == os.getpid(), "a fork has a folder of its own"
    folder = files.make_folder(base).absolute()
    remove_leftovers(folder, name=_NAME)
    return str(_OPEN.enter_context(temporary_folder(Path(folder) / _NAME)))
