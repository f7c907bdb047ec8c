"""A file system behind a URL for readers that are not ours, DuckDB above all: read-only, and as persistent.

In: a location. Out: an fsspec file system of its protocol whose every request goes through `Persistent`: tried
again while it fails, the length of every answer checked, said when it lasts. Guaranteed: nothing is written through
it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from storage.remote import Persistent, open_filesystem


class RemoteView(AbstractFileSystem):  # type: ignore[misc]
    """The file system of one protocol, to read from."""

    cachable = False

    def __init__(self, location: str) -> None:
        """Open the file system of a location."""
        super().__init__()
        self._inner, _ = open_filesystem(location)
        self.protocol = self._inner.protocol
        self._strip_protocol = self._inner._strip_protocol
        self.unstrip_protocol = self._inner.unstrip_protocol

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return size and kind of a file or folder."""
        info: dict[str, Any] = self._persistent(path).info(path)
        return info

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what is right below a folder."""
        entries: list[Any] = self._persistent(path).ls(path, detail=detail)
        return entries

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether a file or folder is there."""
        return self._persistent(path).exists(path)

    def modified(self, path: str) -> datetime:
        """Return when a file was written; long ago where the store does not tell."""
        try:
            when: datetime = self._persistent(path).modified(path)
        except NotImplementedError:
            return datetime.fromtimestamp(0, UTC)
        return when

    def _open(self, path: str, mode: str = "rb", **options: Any) -> _File:
        assert mode == "rb", "nothing is written through a view"
        return _File(self, path, mode, **options)

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` to `stop`."""
        return self._persistent(path).read_range(path, start, stop - start)

    def _persistent(self, path: str) -> Persistent:
        return Persistent(self._inner, self._inner.unstrip_protocol(path))


class _File(AbstractBufferedFile):  # type: ignore[misc]
    """One file of a `RemoteView`."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.read_range(self.path, start, end)
        return data
