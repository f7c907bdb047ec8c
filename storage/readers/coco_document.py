"""A COCO file as JSON: all of it as plain values, or its members with the records of the large lists undecoded.

In: the path of a COCO or LVIS file. Out: a document and the sha256 of the file's bytes. Guaranteed: the file is one
JSON object with a list `images`, and `annotations` is a list where the file has it. What a record holds is for its
reader to check.

A file in UTF-16 or UTF-32 is read as such. One in another encoding, or nested so deep that no tool meant it, is a
SourceError that names it, from whichever reader meets it (`names_unreadable`).

msgspec reads the file. Some tools write what JSON does not have and Python's `json` reads nevertheless (NaN,
Infinity, half of a surrogate pair): such a file is read by `json`, which needs several times the memory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from storage import files
from storage.errors import SourceError
from storage.regular import MAX_WHOLE_BYTES, NotRegularError, open_regular

Result = TypeVar("Result")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EDGE = 64
"""Bytes at either end of a file in which its braces are looked for."""


def names_unreadable(read: Callable[[str], Result]) -> Callable[[str], Result]:
    """Let a reader of a COCO file name the file, and the byte, where it is no Unicode or nested without end."""

    @functools.wraps(read)
    def reading(path: str) -> Result:
        try:
            return read(path)
        except UnicodeDecodeError:
            raise SourceError(_why_undecodable(path)) from None
        except RecursionError:
            raise SourceError(
                f"expected COCO JSON, got values nested thousands deep: {path}; give a COCO detection file"
            ) from None

    return reading


class CocoMembers(msgspec.Struct):
    """The members of a COCO file that are read; `annotations` is UNSET where the file has none."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    categories: Any = []
    info: Any = None


@names_unreadable
def read_document(path: str) -> tuple[dict[str, Any], str]:
    """Return a whole COCO file as plain values and the sha256 of its bytes. Raises SourceError when it is none."""
    data = _file_bytes(path)
    return _plain_document(_as_utf8(data, path), path), hashlib.sha256(data).hexdigest()


def read_members(path: str) -> tuple[CocoMembers, str]:
    """Return the members of a COCO file and the sha256 of its bytes. Raises SourceError when it is none."""
    data = _file_bytes(path)
    text = _as_utf8(data, path)
    marked = text[: len(_BYTE_ORDER_MARK)] == _BYTE_ORDER_MARK
    try:
        members = msgspec.json.decode(
            memoryview(text)[len(_BYTE_ORDER_MARK) :] if marked else text, type=CocoMembers
        )
    except msgspec.DecodeError:
        members = _members_of(_plain_document(text, path))
    return members, hashlib.sha256(data).hexdigest()


def plain_record(record: msgspec.Raw, path: str, position: str) -> Any:
    """Return one record as a plain value. Raises SourceError, with its position, when its text is no Unicode."""
    try:
        return json.loads(bytes(record))
    except ValueError as error:
        raise SourceError(
            f"expected JSON, got {error}: {path}, {position}; correct it, or convert the file to UTF-8"
        ) from None


def _file_bytes(path: str) -> bytes | mmap.mmap:
    """Return the bytes of a file, those of a local one mapped: the system can drop them where memory is short."""
    try:
        if files.is_local(path) and files.size(path):
            with open_regular(files.local_path(path)) as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return files.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotRegularError) as error:
        raise SourceError(f"expected a COCO annotation file, got {error}; check the path") from None


def _require_readable_whole(data: bytes | mmap.mmap, path: str) -> None:
    """Raise SourceError for a file without end, where all of it would be asked into memory."""
    if len(data) > MAX_WHOLE_BYTES:
        raise SourceError(
            f"expected COCO JSON, got {len(data):,} bytes of something else: {path}; check the file"
        )


def _as_utf8(data: bytes | mmap.mmap, path: str) -> bytes | mmap.mmap:
    encoding = json.detect_encoding(data[:4])
    if encoding.startswith("utf-8"):
        return data
    _require_readable_whole(data, path)
    return bytes(data).decode(encoding, "surrogatepass").encode(errors="surrogatepass")


def _why_undecodable(path: str) -> str:
    data, place = bytes(_file_bytes(path)), 0
    try:
        data.decode(json.detect_encoding(data[:4]))
    except UnicodeDecodeError as error:
        place = error.start
    return (
        f"expected COCO JSON in UTF-8, got another encoding at byte {place:,} ({data[place : place + 1]!r}): "
        f"{path}; convert it from its own, with `iconv -f LATIN1 -t UTF-8` for Latin-1 or `-f GB18030` for Chinese"
    )


def _plain_document(data: bytes | mmap.mmap, path: str) -> dict[str, Any]:
    _require_readable_whole(data, path)
    opens = data[:_EDGE].removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"{")
    if opens and not data[-_EDGE:].rstrip().endswith(b"}"):  # `json` would first build all that is there
        raise SourceError(
            f"expected COCO JSON up to its closing brace, got the end of the file at byte {len(data):,}: {path}; "
            "is the file complete?"
        )
    try:
        document = json.loads(bytes(data))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise SourceError(f"expected COCO JSON, got {error}: {path}; is the file complete?") from None
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise _no_list("images", document, path)
    if not isinstance(document.get("annotations", []), list):
        raise _no_list("annotations", document["annotations"], path)
    return document


def _no_list(name: str, value: object, path: str) -> SourceError:
    got = type(value).__name__
    if isinstance(value, dict):
        got = f"an object with {', '.join(sorted(value)) or 'no keys'}"
    return SourceError(
        f"expected a JSON object with a list {name!r}, got {got}: {path}; give a COCO detection file"
    )


def _members_of(document: Mapping[str, Any]) -> CocoMembers:
    return CocoMembers(
        images=_records_of(document["images"]),
        annotations=_records_of(document["annotations"]) if "annotations" in document else msgspec.UNSET,
        categories=document.get("categories", []),
        info=document.get("info"),
    )


def _records_of(values: Sequence[object]) -> list[msgspec.Raw]:
    return [msgspec.Raw(json.dumps(value).encode()) for value in values]
