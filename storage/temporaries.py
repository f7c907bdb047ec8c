"""Hidden files and folders beside what is being written, and what killed writers left of them.

In: the path that something is to have. Out: a hidden path beside it, `.NAME.PID-xxxxxxxx.tmp`, that no reader looks
at. Guaranteed: the writer holds a lock on it, which the system lets go when the process dies, so that the leftovers
of killed writers are told from the work of others and only they are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.\d+-[0-9a-f]+\.tmp")


@contextlib.contextmanager
def temporary_file(final: Path) -> Iterator[Path]:
    """Give an empty hidden file beside `final`; the block renames it, or it is gone afterwards."""
    temporary = _beside(final)
    with _named(final):
        descriptor = open_locked(
            temporary, wait=True
        )  # for whoever takes it for a leftover before it has its lock
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(final: Path) -> Iterator[Path]:
    """Give an empty hidden folder beside `final`; the block renames it, or it is gone afterwards."""
    with _named(final):
        temporary, descriptor = _locked_folder(final)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def open_locked(path: Path, *, wait: bool = False) -> int:
    """Return a descriptor of the file of this name with its lock; the file is made where there is none.

    Raises BlockingIOError when another process holds the lock, unless it is to `wait`.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it before removed it: the lock is of a file without a name


def leftovers(folder: Path, *, name: str | None = None) -> list[Path]:
    """Return what killed writers left in one folder, sorted; `name` asks for those of one file or folder only."""
    found = []
    for path in _hidden(folder, name):
        with _unless_locked(path) as is_leftover:
            found += [path] if is_leftover else []
    return found


def remove_leftovers(folder: Path, *, name: str | None = None) -> None:
    """Remove what killed writers left in one folder; what others write at this moment stays."""
    for path in _hidden(folder, name):
        with _unless_locked(path) as is_leftover:  # held while it is removed: its name may be a moment old
            if is_leftover and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif is_leftover:
                path.unlink(missing_ok=True)


def _locked_folder(final: Path) -> tuple[Path, int]:
    """Return a new hidden folder and a descriptor with its lock."""
    while True:
        temporary = _beside(final)
        temporary.mkdir()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY)
            with contextlib.suppress(
                OSError
            ):  # NFS locks no folders: it only looks like a leftover of nobody
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, descriptor
            os.close(descriptor)  # taken for a leftover before it had its lock


def _hidden(folder: Path, name: str | None) -> list[Path]:
    return [path for path in sorted(folder.glob(".*.tmp")) if _is_temporary_of(path, name)]


@contextlib.contextmanager
def _named(final: Path) -> Iterator[None]:
    """Let an error name what was to be written, not the hidden path beside it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(final)) from error


def _beside(final: Path) -> Path:
    return final.parent / f".{final.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"


def _is_temporary_of(path: Path, name: str | None) -> bool:
    match = _TEMPORARY.fullmatch(path.name)
    return match is not None and name in (None, match[1])


@contextlib.contextmanager
def _unless_locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a hidden path while the block runs; False where a writer lives.

    Also False where the file system knows no locks, so that nobody can tell.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = True
    except OSError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)
