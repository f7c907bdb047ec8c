"""Of several processes one: a lock while it works, a claim that stays.

In: a location, and for a claim what it holds. Out: the lock held, or whether this process won. Guaranteed: locally,
on one machine or several that share a file system with locks, of several processes one holds a lock and one wins a
claim; what is claimed is seen with its content or not at all. On object stores a claim is a conditional write,
where the store has such writes (S3, GCS), else a look before the write; a lock does nothing there, so whoever
writes to them needs an order of steps that is safe without one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from storage import files
from storage.errors import StoreError, names_location
from storage.temporaries import open_locked, temporary_file, temporary_folder


@contextlib.contextmanager
def locked(location: str, *, command: str) -> Iterator[None]:
    """Hold a local lock file for this process; the system lets go when the process dies. Remote: does nothing.

    The file is removed in the end. Raises StoreError naming the `command` that holds it already.
    """
    if not files.is_local(location):
        yield
        return
    path = files.local_path(location)
    try:
        with names_location(location):
            descriptor = _open_lock(path)
    except BlockingIOError:
        raise StoreError(
            f"expected to be the only writer, got a folder that another `{command}` is writing: "
            f"{path.parent}; wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        # while it is held: whoever opened it before sees that it has no name
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    while True:
        files.make_folder(str(path.parent))
        with contextlib.suppress(FileNotFoundError):  # another process finished and removed the folder
            return open_locked(path)


def write_if_absent(location: str, data: bytes) -> bool:
    """Write a whole file only where there is none; return whether it holds what this call gave it.

    Of several processes that try, one succeeds.
    """
    if files.exists(location):
        return False
    if not files.is_local(location):
        return files.create_remote(location, data)
    final = files.local_path(location)
    files.make_folder(str(final.parent))
    with temporary_file(final) as temporary:
        temporary.write_bytes(data)
        files.sync(temporary)
        try:
            final.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # no hard links here
            temporary.replace(final)
        files.sync(final.parent)
    return True


def claim_folder(location: str, name: str, data: bytes) -> bool:
    """Make a folder that holds one file from its first moment; return whether there was none with files in it.

    Of several processes that try, one succeeds; nobody sees the folder without the file.
    """
    if not files.is_local(location):
        return write_if_absent(files.join(location, name), data)
    final = files.local_path(location)
    files.make_folder(str(final.parent))
    with temporary_folder(final) as temporary, names_location(location):
        (temporary / name).write_bytes(data)
        files.sync(temporary / name)
        files.sync(temporary)
        try:
            temporary.rename(final)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        files.sync(final.parent)
    return True
