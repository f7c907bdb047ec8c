"""The large arrays of a JSON file, piece by piece, without the whole file in memory.

In: a file that holds one JSON object, and the names of its members that are large arrays. Out: `Piece`s: runs
of whole elements with the span of each, in file order; the few small members that were asked for as plain
values; the names of all members; the sha256 of the bytes. One pass, a few chunks in memory. Guaranteed: an
element is a balanced piece of JSON; whether it is sound inside, who reads it finds out. A file that ends early
or is no JSON is a ValueError that says where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from storage import files
from storage.errors import SourceError

CHUNK_BYTES = 4 << 20
MAX_ELEMENTS = 1 << 15
"""Elements of one piece."""

_INCOMPLETE, _MALFORMED = -1, -2
_NEED_MORE, _CLOSED, _FULL, _BROKEN = 0, 1, 2, 3
_FIRST, _AFTER_ELEMENT, _AFTER_COMMA = 0, 1, 2
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """Some elements of one array."""

    member: str
    """Name of the array."""
    first: int
    """Index of the first of them in the array."""
    data: npt.NDArray[np.uint8]
    spans_E2: npt.NDArray[np.int64]
    """Where each element begins and ends in `data`."""

    path: str

    def element(self, index: int) -> Any:
        """Return one element as a plain value. Raises SourceError when it is unsound inside."""
        start, end = self.spans_E2[index]
        return self._parsed(self.data[start:end].tobytes(), self.first + index)

    def elements(self) -> list[Any]:
        """Return all elements as plain values. Raises SourceError when one is unsound inside."""
        start, end = self.spans_E2[0, 0], self.spans_E2[-1, 1]
        return list(self._parsed(b"[" + self.data[start:end].tobytes() + b"]", self.first))

    def _parsed(self, text: bytes, index: int) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise SourceError(
                f"expected JSON, got {error}: {self.path}, {self.member} from [{index}] on; is the file complete?"
            ) from None


class JsonStream:
    """One JSON object of a file; go through `pieces()` once, then ask for the rest."""

    def __init__(self, path: str, *, arrays: Collection[str], values: Collection[str]) -> None:
        """Name the members that come in pieces and those that are kept as values.

        A member among `arrays` that is no array is kept as a value. Raises OSError when there is no such file.
        """
        self.names: list[str] = []
        """Members seen so far."""
        self.values: dict[str, Any] = {}
        self._window = _Window(path)
        self._arrays, self._values = set(arrays), set(values)

    @property
    def sha256(self) -> str:
        """Return the hash of all bytes, once the pieces are through."""
        return self._window.digest.hexdigest()

    def is_object(self) -> bool:
        """Return whether the file begins like an object."""
        return self._window.peek() == b"{"

    def pieces(self) -> Iterator[Piece]:
        """Yield the elements of the arrays in file order. Raises SourceError where the file is no JSON object."""
        window = self._window
        window.expect(b"{")
        more = window.peek() != b"}"
        while more:
            name = str(window.value())
            self.names.append(name)
            window.expect(b":")
            if name in self._arrays and window.peek() == b"[":
                yield from self._elements(name)
            elif name in self._arrays | self._values:
                self.values[name] = window.value()
            else:
                window.skip()
            more = window.peek() == b","
            if more:
                window.expect(b",")
        window.expect(b"}")
        window.finish()

    def _elements(self, name: str) -> Iterator[Piece]:
        window, first, state = self._window, 0, _FIRST
        window.expect(b"[")
        spans_E2 = np.zeros((MAX_ELEMENTS, 2), np.int64)
        while True:
            count, window.position, state, why = _split(window.data, window.position, state, spans_E2)
            if count:
                yield Piece(
                    member=name, first=first, data=window.data, spans_E2=spans_E2[:count], path=window.path
                )
                first += count
            if why == _BROKEN or (why == _NEED_MORE and not window.extend()):
                raise window.error("an array of elements")
            if why == _CLOSED:
                return


class _Window:
    """The bytes of the file that are looked at: from the first that is not used up, in steps of a chunk."""

    def __init__(self, path: str) -> None:
        self.data = np.zeros(0, np.uint8)
        self.position = 0
        self.digest = hashlib.sha256()
        self.path, self._size, self._read = path, files.size(path), 0
        self.extend()
        if self.data[:3].tobytes() == _BYTE_ORDER_MARK:
            self.position = 3

    def extend(self) -> bool:
        """Drop what is used up and read on; return whether there was anything more."""
        length = min(CHUNK_BYTES, self._size - self._read)
        if length <= 0:
            return False
        chunk = files.read_range(self.path, self._read, length)
        self.digest.update(chunk)
        self._read += length
        self.data = np.concatenate([self.data[self.position :], np.frombuffer(chunk, np.uint8)])
        self.position = 0
        return True

    def peek(self) -> bytes:
        """Return the next byte that is no white space, without using it; empty at the end of the file."""
        while True:
            self.position = skip_space(self.data, self.position)
            if self.position < len(self.data):
                return self.data[self.position : self.position + 1].tobytes()
            if not self.extend():
                return b""

    def expect(self, byte: bytes) -> None:
        """Use up one byte. Raises SourceError when it is another."""
        if self.peek() != byte:
            raise self.error(repr(byte.decode()))
        self.position += 1

    def skip(self) -> tuple[int, int]:
        """Use up one value; return where it began and ended."""
        self.peek()
        while (end := skip_value(self.data, self.position)) == _INCOMPLETE and self.extend():
            pass
        if end < 0:
            raise self.error("a value")
        start, self.position = self.position, end
        return start, end

    def value(self) -> Any:
        """Use up one value and return it."""
        start, end = self.skip()
        try:
            return json.loads(self.data[start:end].tobytes())
        except ValueError:
            self.position = start
            raise self.error("a value") from None

    def finish(self) -> None:
        """Raises SourceError when anything follows."""
        if self.peek():
            raise self.error("the end of the file")

    def error(self, expected: str) -> ValueError:
        byte = self._read - len(self.data) + self.position
        got = self.data[self.position : self.position + 12].tobytes() or b"the end of the file"
        return ValueError(
            f"expected JSON, {expected} at byte {byte:,} of {self._size:,}, got "
            f"{got.decode(errors='replace')!r}: {self.path}; is the file complete?"
        )


@numba.njit(cache=True, nogil=True)
def skip_space(data, i):  # type: ignore[no-untyped-def]
    """Return the place of the first byte from `i` on that is no white space."""
    while i < len(data) and (data[i] == 32 or data[i] == 10 or data[i] == 13 or data[i] == 9):
        i += 1
    return i


@numba.njit(cache=True, nogil=True)
def skip_string(data, i):  # type: ignore[no-untyped-def]
    """Return the place after the string whose opening quote is at `i`; -1 when the data ends first."""
    i += 1
    while i < len(data):
        if data[i] == 34:
            return i + 1
        i += 2 if data[i] == 92 else 1
    return _INCOMPLETE


@numba.njit(cache=True, nogil=True)
def skip_value(data, i):  # type: ignore[no-untyped-def]
    """Return the place after the value that begins at `i`; -1 when the data ends first, -2 when it is none.

    Brackets are counted, not told apart.
    """
    if i >= len(data):
        return _INCOMPLETE
    if data[i] == 34:
        return skip_string(data, i)
    depth, start = 0, i
    while i < len(data):
        byte = data[i]
        if byte == 34:
            if depth == 0:
                return _MALFORMED
            i = skip_string(data, i)
            if i < 0:
                return _INCOMPLETE
            continue
        if byte == 123 or byte == 91:
            depth += 1
        elif byte == 125 or byte == 93:
            if depth == 0:
                return i if i > start else _MALFORMED
            depth -= 1
            if depth == 0:
                return i + 1
        elif depth == 0 and (byte == 44 or byte == 32 or byte == 10 or byte == 13 or byte == 9):
            return i if i > start else _MALFORMED
        i += 1
    return _INCOMPLETE


@numba.njit(cache=True, nogil=True)
def _split(data, i, state, spans_E2):  # type: ignore[no-untyped-def]
    """Find whole elements from `i` on: their number, where and in which state to go on, and why it ended."""
    count = 0
    while count < len(spans_E2):
        i = skip_space(data, i)
        if i >= len(data):
            return count, i, state, _NEED_MORE
        if data[i] == 93 and state != _AFTER_COMMA:
            return count, i + 1, state, _CLOSED
        if state == _AFTER_ELEMENT:
            if data[i] != 44:
                return count, i, state, _BROKEN
            i, state = i + 1, _AFTER_COMMA
            continue
        end = skip_value(data, i)
        if end == _INCOMPLETE:
            return count, i, state, _NEED_MORE
        if end < 0:
            return count, i, state, _BROKEN
        spans_E2[count, 0], spans_E2[count, 1] = i, end
        count, i, state = count + 1, end, _AFTER_ELEMENT
    return count, i, state, _FULL
