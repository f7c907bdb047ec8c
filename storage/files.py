"""The one door to the file system for data sets and label tables, local or remote.

In: locations as text, a local path or any fsspec URL (`s3://`, `gs://`, `https://`, `memory://`). Out:
bytes, sizes, sorted listings. Guarantees: what is read is a regular file (`storage/regular.py`), and a file that
can be seen under its name is complete. Writers put the bytes beside it under a hidden name, fsync, rename, and
fsync the folder, so a process killed at any moment leaves either the old file, or the new one, or a hidden
`.*.tmp` that no reader looks at. On object stores one put does the same. An OSError names the location.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage import temporaries
from storage.errors import StoreError, names_location
from storage.regular import read_regular, read_regular_range
from storage.remote import Persistent, open_filesystem


def is_local(location: str) -> bool:
    """Return whether the location is a path of this machine."""
    return "://" not in location or location.startswith("file://")


def local_path(location: str) -> Path:
    """Return a local location as a path; `file://` is taken off."""
    assert is_local(location), location
    return Path(location.removeprefix("file://"))


def join(root: str, *names: str) -> str:
    """Return a location below the root; names are taken as they are, `/` between them."""
    if root in {"", "."}:
        return "/".join(names)
    return "/".join([root.rstrip("/"), *names])


def exists(location: str) -> bool:
    """Return whether a file or folder is there."""
    if is_local(location):
        return local_path(location).exists()
    filesystem, path = _remote(location)
    return bool(filesystem.exists(path))


def is_same_file(location: str, other: str) -> bool:
    """Return whether two locations, of which the first is there, are one file."""
    if not (is_local(location) and is_local(other)):
        return location == other
    return local_path(other).exists() and local_path(location).samefile(local_path(other))


def size(location: str) -> int:
    """Return the size of a file in bytes. Raises FileNotFoundError."""
    if is_local(location):
        return local_path(location).stat().st_size
    filesystem, path = _remote(location)
    return int(filesystem.size(path))


def read_bytes(location: str) -> bytes:
    """Return a whole file. Raises FileNotFoundError and other OSError."""
    if is_local(location):
        with names_location(location):
            return read_regular(local_path(location))
    filesystem, path = _remote(location)
    return filesystem.read_file(path)


def read_range(location: str, offset: int, length: int) -> bytes:
    """Return exactly `length` bytes from `offset`.

    Raises OSError when the file is missing, unreadable, or ends before: a truncated shard is never a short
    read. A store that answers with fewer bytes than its file has is asked again.
    """
    if not is_local(location):
        filesystem, path = _remote(location)
        return filesystem.read_range(path, offset, length)
    with names_location(location):
        data = read_regular_range(local_path(location), offset, length)
    if len(data) != length:
        raise OSError(
            errno.EIO,
            f"expected {length} bytes at offset {offset}, got {len(data)}: truncated; write or copy it again",
            location,
        )
    return data


def write_atomic(location: str, data: bytes) -> None:
    """Write a whole file so that it exists completely or not at all; folders are made as needed."""
    if is_local(location):
        with local_atomic(location) as temporary:
            temporary.write_bytes(data)
    else:
        filesystem, path = _remote(location)
        filesystem.pipe_file(path, data)


def create_remote(location: str, data: bytes) -> bool:
    """Write a file of an object store only where there is none; return whether it holds this data then.

    A store without conditional writes is looked at before.
    """
    filesystem, path = _remote(location)
    try:
        filesystem.pipe_file(path, data, mode="create")
    except (NotImplementedError, TypeError):
        filesystem.pipe_file(path, data)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # an S3 of another maker
            filesystem.pipe_file(path, data)
        elif isinstance(error, FileExistsError) or error.errno == errno.EINVAL:
            return read_bytes(location) == data  # ours after a write whose answer was lost
        else:
            raise
    return True


def make_folder(location: str) -> Path:
    """Return a local folder, made as needed. Raises StoreError when a file stands in its place."""
    folder = local_path(location)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StoreError(
            f"expected a folder to write to, got a file in its place: {location}; name another folder"
        ) from None
    return folder


def sync(path: Path) -> None:
    """Have a file or a folder on disk before anything else is done."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def local_atomic(location: str) -> Iterator[Path]:
    """Give a hidden path beside a local file; when the block ends well it takes the file's name."""
    final = local_path(location)
    make_folder(str(final.parent))
    if final.exists() and not final.is_file():
        what = "a folder" if final.is_dir() else "a device or fifo"  # a rename would put a file in its place
        raise StoreError(f"expected the name of a file to write, got {what}: {location}; name another file")
    with names_location(location), temporaries.temporary_file(final) as temporary:
        yield temporary
        sync(temporary)
        temporary.replace(final)
        sync(final.parent)


def list_files(root: str, suffix: str) -> list[str]:
    """Return the locations of the files right below `root` with this suffix, sorted, without hidden ones.

    A folder that is not there has none.
    """
    return [join(root, name) for name, _ in _entries(root) if name.endswith(suffix)]


def list_folders(root: str) -> list[str]:
    """Return the names of the folders right below `root`, sorted, without hidden ones."""
    return [name for name, is_folder in _entries(root) if is_folder]


def walk_files(root: str) -> list[str]:
    """Return the names relative to `root` of all files below it, sorted, without hidden ones."""
    if is_local(root):
        names = _walk(local_path(root))
    else:
        filesystem, path = _remote(root)
        names = [str(name).removeprefix(path).lstrip("/") for name in filesystem.find(path)]
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def leftovers(folder: str) -> list[str]:
    """Return what killed writers left in one local folder, sorted; object stores have none."""
    return list(map(str, temporaries.leftovers(local_path(folder)))) if is_local(folder) else []


def remove_leftovers(location: str, *, name: str | None = None) -> None:
    """Remove what killed writers left in a local folder; `name` asks for that of one file or folder only."""
    if is_local(location):
        temporaries.remove_leftovers(local_path(location), name=name)


def remove_file(location: str) -> None:
    """Remove a file; one that is not there is fine."""
    if is_local(location):
        local_path(location).unlink(missing_ok=True)
    else:
        filesystem, path = _remote(location)
        if filesystem.exists(path):
            filesystem.rm_file(path)


def remove_folder(location: str) -> None:
    """Remove a folder with all that is in it; one that is not there is fine."""
    if is_local(location):
        shutil.rmtree(local_path(location), ignore_errors=True)
    else:
        filesystem, path = _remote(location)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


def _entries(root: str) -> list[tuple[str, bool]]:
    """Return the name of all that is right below `root`, and whether it is a folder; sorted, nothing hidden."""
    if is_local(root):
        folder = local_path(root)
        entries = [(entry.name, entry.is_dir()) for entry in os.scandir(folder)] if folder.is_dir() else []
    else:
        filesystem, path = _remote(root)
        try:
            infos = filesystem.ls(path, detail=True)
        except FileNotFoundError:
            infos = []
        paths = ((str(info["name"]).rstrip("/"), info["type"] == "directory") for info in infos)
        entries = [(path.rsplit("/", 1)[-1], is_folder) for path, is_folder in paths]
    return sorted(entry for entry in entries if not entry[0].startswith("."))


def _walk(folder: Path) -> list[str]:
    """Walk through linked folders too, each only once, so that a link to a parent ends."""
    names_below, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        below = os.path.relpath(parent, folder)
        names_below += names if below == "." else [f"{below}/{name}" for name in names]
    return names_below


def _remote(location: str) -> tuple[Persistent, str]:
    filesystem, path = open_filesystem(location)
    return Persistent(filesystem, location), path
