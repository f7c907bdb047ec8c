"""Object stores and other file systems behind a URL, by fsspec: opened in one way, asked again when they fail.

In: a location such as `s3://bucket/labels`. Out: its file system, and `Persistent`, the same one with every request
tried again while it fails. Guarantees: an answer (there is no such file, access is denied) is final at once; any
other failure, and an answer of fewer bytes than asked for, is passing until `DEADLINE`; who waits is told on what,
after `SAY_AFTER` seconds; listings are never remembered, so that files which others wrote are seen. Credentials and
endpoints are those of the backend: for S3 the AWS_* variables or its config files.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from storage.errors import StoreError, names_location
from storage.wait_notices import WAITS, Request, describe

DEADLINE = 60.0
"""Seconds for which one request is tried."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 8.0
"""Seconds before the second try, doubled before each further one up to the longest."""
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 15
"""Seconds without a byte after which one try has failed."""

_FINAL = (
    FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError, NotImplementedError,
)  # fmt: skip
_PASSING_STATUS = (408, 425, 429)
"""HTTP answers below 500 that ask to come again."""
_OURS = (TypeError, ImportError)
"""Faults of a program, no failures of a store."""

_FAILING: set[str] = set()
"""Stores and files that failed until the deadline and have not answered since: asked once, not a minute for each
image of a broken shard."""

T = TypeVar("T")


class TruncatedFileError(OSError):
    """A file ends before the bytes that were asked for, by its own size: asking again would be told the same."""


class Persistent:
    """The methods of a file system, each tried again when it fails; an OSError that they raise names `location`."""

    def __init__(self, filesystem: Any, location: str) -> None:
        self._filesystem, self._location = filesystem, location

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._filesystem, name)
        return lambda path, *arguments, **named: self._insist(name, lambda: method(path, *arguments, **named))

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there; the `exists` of some backends takes any failure for a no."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def read_file(self, path: str) -> bytes:
        """Return a whole file; a body shorter than the size that the store tells is asked for again."""

        def read() -> bytes:
            data = bytes(self._filesystem.cat_file(path))
            size = self._filesystem.size(path)
            if size is not None and len(data) != size:
                raise OSError(errno.EIO, f"expected {size} bytes, got {len(data)}")
            return data

        return self._insist("reading it whole", read)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; a short answer is asked for again.

        Raises TruncatedFileError where the file ends before.
        """

        def read() -> bytes:
            data = bytes(self._filesystem.cat_file(path, start=offset, end=offset + length))
            if len(data) == length:
                return data
            size = self._filesystem.size(path)
            got = f"expected {length} bytes at offset {offset}, got {len(data)}"
            if size is not None and size < offset + length:
                raise TruncatedFileError(
                    errno.EIO, f"{got}: truncated at byte {size}; write or copy it again"
                )
            raise OSError(errno.EIO, got)

        return self._insist(f"reading bytes {offset} to {offset + length}", read)

    def _insist(self, what: str, ask: Callable[[], T]) -> T:
        names = {self._location, _store(self._location)}
        request = Request(what=what, location=self._location, deadline=0 if names & _FAILING else DEADLINE)
        with names_location(self._location), WAITS.watch(request):
            while True:
                try:
                    answer = ask()
                except Exception as error:  # every backend has errors of its own
                    failure = _failure(error)
                    if (final := _final(failure, self._location)) is not None:
                        _FAILING.difference_update(names)
                        raise final from error
                    wait = min(FIRST_WAIT * 2**request.tries, LONGEST_WAIT)
                    request.failed(failure)
                    if request.seconds + wait > request.deadline:
                        _FAILING.update(names)
                        raise OSError(_gave_up(request)) from error
                    time.sleep(wait)
                else:
                    _FAILING.difference_update(names)
                    return answer


def open_filesystem(location: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it. Raises StoreError when it has no package here."""
    try:
        filesystem, path = fsspec.core.url_to_fs(location, use_listings_cache=False, **_options(location))
    except (ImportError, ValueError) as error:  # ValueError: of a protocol that fsspec does not know
        raise StoreError(
            f"expected the package of such URLs, got none ({error}): {location}; for s3:// install mixpl[s3]"
        ) from None
    if hasattr(filesystem, "retries"):  # s3fs: its own tries would pass the deadline, and say nothing
        filesystem.retries = 1
    return filesystem, str(path)


def _options(location: str) -> dict[str, Any]:
    """Return the timeouts of one try, and that the backend makes one."""
    match location.split("://")[0]:
        case "s3" | "s3a":
            timeouts = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT}
            return {"config_kwargs": {"retries": {"total_max_attempts": 1}, **timeouts}}
        case "http" | "https":
            from aiohttp import ClientTimeout

            # Without `total`, 5 minutes by default: a large shard over a slow line may take longer.
            timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
            return {"client_kwargs": {"timeout": timeout}}
        case _:
            return {}


def _store(location: str) -> str:
    """Return the protocol and the host or bucket of a location."""
    return "/".join(location.split("/")[:3])


def _failure(error: Exception) -> Exception:
    """Return what went wrong: fsspec's HTTP says of any answer to a look at a file that there is no file."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and _is_http(cause):
        assert isinstance(cause, Exception)
        return cause
    return error


def _is_http(error: BaseException) -> bool:
    return type(error).__module__.startswith("aiohttp.")


def _final(error: Exception, location: str) -> Exception | None:
    """Return the error to raise at once where asking again would be told the same, else None."""
    status = getattr(error, "status", None)
    without_credentials = "Credentials" in type(error).__name__  # botocore's, which are no OSError
    if isinstance(error, PermissionError) or without_credentials or status in (401, 403):
        return PermissionError(errno.EACCES, _refused(location, error))
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, location)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING_STATUS
    if isinstance(error, OSError) and refused:
        return OSError(errno.EIO, f"expected the file, got {describe(error)}; check the URL")
    # EINVAL: a range past the end of a file, or a condition that does not hold; ENOSYS: what a store does not know
    told = getattr(error, "errno", None) in (errno.EINVAL, errno.ENOSYS)
    return error if told or isinstance(error, (TruncatedFileError, *_FINAL, *_OURS)) else None


def _refused(location: str, error: Exception) -> str:
    """Return what a refusal names and what to check; S3 refuses, too, to say that a key is not there."""
    protocol, _, path = location.partition("://")
    if protocol not in ("s3", "s3a"):
        return f"expected to be let read or write it, got {describe(error)}; check the rights on it"
    bucket, _, key = path.partition("/")
    return (
        f"expected to be let at key {key!r} of bucket {bucket!r}, got {describe(error)}; check the credentials "
        "(AWS_ACCESS_KEY_ID or AWS_PROFILE), what the bucket's policy allows them, and that the key is there: S3 "
        "refuses to name missing ones to whom it does not list"
    )


def _gave_up(request: Request) -> str:
    return (
        f"expected {request.what} to work, got {request.last_failure} (tried {request.tries} times in "
        f"{request.seconds:.0f} s); check the network, the credentials and the service, then run the same command "
        "again"
    )
