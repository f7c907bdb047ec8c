"""The errors that are not ours: what a user gave or asked for cannot be used as it is.

    InputError               one line for the user, exit code 2
    ├── ConfigError          a flag, setting, recipe, query or name that cannot be, or does not fit what is there
    ├── SourceError          files of other tools: annotations, images, lists of ids, weights
    ├── StoreError           files of this program: data sets, rounds, runs; missing, damaged or not matching
    └── RunStoppedError      a run that must end though its input is right: a rank gone, a loss not finite

Every message says what was expected, what came, where, and what to do next; what it advises can be done. `mixpl`
prints an `InputError`, and an `OSError` that names its path, without a traceback. Any other exception, a
`ValueError` too, is a fault of this program and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

_ERRNOS = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
}
"""The numbers of errors that Python files made without one, as object stores' packages do."""


class InputError(Exception):
    """What came from outside cannot be used; the message says what to do."""


class ConfigError(InputError):
    """A flag, setting, recipe, query or name cannot be, or does not fit what is there."""


class SourceError(InputError):
    """A file of another tool cannot be read: annotations, images, lists of ids, weights."""


class StoreError(InputError):
    """A file of this program is missing, damaged, of another version, or does not match the others."""


class RunStoppedError(InputError):
    """A run must end though its input is right."""


def came_from_outside(error: BaseException) -> bool:
    """Return whether an error is one line for the user: an `InputError`, or an `OSError` that names its path."""
    return isinstance(error, InputError) or (isinstance(error, OSError) and error.filename is not None)


def system_error(text: str) -> OSError | None:
    """Return the error of the system that stands in a message as text only, as in DuckDB's; None without one."""
    number = next((number for number in errno.errorcode if os.strerror(number) in text), None)
    return None if number is None else OSError(number, os.strerror(number))


@contextlib.contextmanager
def names_location(location: str) -> Iterator[None]:
    """Give an OSError of the block its location, where it names no file: full disks and object stores name none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        number = error.errno or _ERRNOS.get(type(error), errno.EIO)
        text = " ".join((error.strerror or str(error)).split())
        if number in (errno.ENOSPC, errno.EDQUOT):
            text = "no space left to write it; make room, then run the same command again"
        elif location.endswith(text):  # only the path, which is named anyway
            text = os.strerror(number)
        raise type(error)(number, text, location) from error
