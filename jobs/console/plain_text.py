"""Text of other people on a terminal: class names, file names and messages can move no cursor and colour nothing.

In: any text that is printed. Out: the same with control characters, ANSI escapes, characters that turn the
direction of writing, and halves of surrogate pairs as `\\x1b` or `\\u202e`; ends of lines and tabs stay. While a
verb works, all that it prints goes through `escaped_output`; tables and bars of rich, which colour by escapes of
their own, are given their texts by `printable` and write to the stream below (`raw`).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from storage.errors import names_location

STANDARD_OUTPUT = "standard output"

_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return a text with all that a terminal would obey, or could not show, written as Python writes it."""
    return _ODD.sub(lambda odd: odd[0].encode("unicode_escape").decode(), text)


class NamedStream:
    """Standard output whose errors name it: a disk behind it may be full. All else is asked of the stream below."""

    def __init__(self, below: TextIO) -> None:
        self.below = below

    def write(self, text: str) -> int:
        """Write a text."""
        with names_location(STANDARD_OUTPUT):
            return self.below.write(text)

    def flush(self) -> None:
        """Write what waits."""
        with names_location(STANDARD_OUTPUT):
            self.below.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


class PlainStream(NamedStream):
    """A stream whose texts are made printable."""

    def write(self, text: str) -> int:
        """Write a text made printable."""
        return super().write(printable(text))


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Send all that the block prints through `printable`."""
    plain: tuple[Any, Any] = PlainStream(sys.stdout), PlainStream(sys.stderr)
    with contextlib.redirect_stdout(plain[0]), contextlib.redirect_stderr(plain[1]):
        yield
        sys.stdout.flush()


@contextlib.contextmanager
def named_output() -> Iterator[None]:
    """Let errors of standard output name it, where texts keep their colours."""
    output: Any = NamedStream(sys.stdout)
    with contextlib.redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()


def raw(stream: Any) -> Any:
    """Return the stream below a plain one, for those who write escapes of their own."""
    return NamedStream(stream.below) if isinstance(stream, PlainStream) else stream
