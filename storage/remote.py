"""Object stores and other file systems behind a URL, by fsspec: opened in one way, asked again when they fail.

In: a location such as `s3://bucket/labels`. Out: its file system, and `Persistent`, the same one with every request
tried several times. Guarantees: an answer (there is no such file, access is denied) is final at once, any other
failure is passing until it has come `TRIES` times; listings are never remembered, so that files which others wrote
are seen. Credentials and endpoints are those of the backend: for S3 the AWS_* variables or its config files.
"""

from __future__ import annotations

import errno
import time
from typing import Any

import fsspec

from storage.errors import StoreError, names_location

TRIES = 4
FIRST_WAIT = 0.2
"""Seconds before the second try; doubled before each further one."""

_ANSWERS = (
    FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError, NotImplementedError,
)  # fmt: skip


class Persistent:
    """The methods of a file system, each tried again when it fails; an OSError that they raise names `location`."""

    def __init__(self, filesystem: Any, location: str) -> None:
        self._filesystem, self._location = filesystem, location

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._filesystem, name)

        @names_location(self._location)
        def insist(path: str, *arguments: Any, **named: Any) -> Any:
            for attempt in range(TRIES):
                try:
                    return method(path, *arguments, **named)
                except Exception as error:  # every backend has errors of its own
                    if _is_answer(error):
                        raise
                    if attempt == TRIES - 1:
                        raise OSError(_gave_up(name, error)) from error
                    time.sleep(FIRST_WAIT * 2**attempt)
            raise AssertionError("the last try returns or raises")

        return insist


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it. Raises StoreError when it has no package here."""
    try:
        filesystem, path = fsspec.core.url_to_fs(location, use_listings_cache=False)
    except (ImportError, ValueError) as error:  # ValueError: of a protocol that fsspec does not know
        raise StoreError(
            f"expected the package of such URLs, got none ({error}): {location}; for s3:// install mixpl[s3]"
        ) from None
    return filesystem, str(path)


def _gave_up(name: str, error: Exception) -> str:
    return (
        f"expected {name} to work, got {type(error).__name__}: {error} (tried {TRIES} times); check the network, "
        "the credentials and the service, then run the same command again"
    )


def _is_answer(error: Exception) -> bool:
    """Return whether asking again would be told the same; EINVAL is a range past the end of a file."""
    return isinstance(error, _ANSWERS) or getattr(error, "errno", None) == errno.EINVAL
