"""Folders and files that appear when they are complete and not before.

In: where something is to be. Out: a hidden local place to write it; when the block ends well it has its name, and
when it fails nothing is there. Guaranteed: an OSError of writing names the final place. A folder of an object store
is complete when the file that is named as its last is there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage import files
from storage.errors import ConfigError
from storage.temporaries import temporary_folder


def require_new(out: str) -> None:
    """Raise ConfigError when there is something of this name."""
    if files.exists(out):
        raise ConfigError(f"expected a name that is not there yet, got {out}; remove it or name another")


@contextmanager
def appearing_folder(out: str, *, last: str) -> Iterator[Path]:
    """Give an empty local folder; when the block ends well it is what `out` names."""
    if not files.is_local(out):
        with tempfile.TemporaryDirectory() as scratch:
            with _named(Path(scratch), Path(scratch)):
                yield Path(scratch)
            _upload(Path(scratch), out, last)
        return
    with _beside(out) as (beside, final):
        yield beside
        os.sync()  # one for what may be a million files
        beside.rename(final)


@contextmanager
def appearing_file(out: str) -> Iterator[Path]:
    """Give the path of a local file to write; when the block ends well it is what `out` names."""
    if not files.is_local(out):
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch) / Path(out).name
            files.write_atomic(out, (Path(scratch) / Path(out).name).read_bytes())
        return
    with _beside(out) as (beside, final):
        yield beside / final.name
        files.sync(beside / final.name)
        (beside / final.name).rename(final)


@contextmanager
def _beside(out: str) -> Iterator[tuple[Path, Path]]:
    """Give a hidden folder beside the local path that `out` names, and that path."""
    final = files.local_path(out.rstrip("/"))
    files.make_folder(str(final.parent))
    files.remove_leftovers(str(final.parent), name=final.name)
    with temporary_folder(final) as beside, _named(beside, final):
        yield beside, final


@contextmanager
def _named(folder: Path, final: Path) -> Iterator[None]:
    """Let an OSError of writing below `folder` name the file by its place below `final`.

    `folder` is gone when the error is read, and a write to an open file (a full disk) names none at all.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        name = str(error.filename or folder).replace(str(folder), str(final), 1)
        raise OSError(error.errno, error.strerror, name) from error


def _upload(folder: Path, out: str, last: str) -> None:
    """Copy a folder to an object store, one file last."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    for name in sorted(names, key=lambda name: name == last):
        files.write_atomic(files.join(out, name), (folder / name).read_bytes())
