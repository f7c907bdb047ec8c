"""Text files as any system writes them: decoded once, here, and then parsed.

In: the bytes of a list, a label file or an annotation file. Out: their text, without a byte order mark. UTF-8 and
UTF-16 are recognised; XML may declare any encoding that Python knows (`utf8`, `GBK`, `ISO-8859-1`). Where bytes are
none of these, encodings are tried only as far as the caller can tell which text is right, as with names of files.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from storage import files
from storage.errors import SourceError
from storage.problems import Problems

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_OTHER_ENCODINGS = ("gb18030", "cp1252", "shift_jis", "big5", "cp1251")
"""Tried in turn where the caller can tell which text is right."""
_HEAD = 1 << 16
"""Bytes at the beginning of a file by which its format is known."""
_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["'][^>]*\?>""")


def decode(
    data: bytes,
    where: str,
    *,
    is_right: Callable[[str], bool] | None = None,
    problems: Problems | None = None,
) -> str:
    """Return the text of a file; an encoding that was tried is a remark.

    Raises SourceError, which names the file, when its encoding is not known.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, where)
    if b"\0" in data[:4]:  # UTF-16 of plain letters without a mark
        return _decoded(data, "utf-16-be" if data[0] == 0 else "utf-16-le", where)
    try:
        return data.decode()
    except UnicodeDecodeError:
        for encoding in _OTHER_ENCODINGS if is_right else ():
            text = _text_or_none(data, encoding)
            if text is not None and is_right is not None and is_right(text):
                if problems is not None:
                    problems.remark(
                        f"text that is no UTF-8 (taken as {encoding}: its names are there)", where
                    )
                return text
    return _decoded(data, "utf-8", where)


def decode_xml(data: bytes, where: str) -> str:
    """Return XML without its declaration, decoded as that says."""
    declared = _DECLARATION.match(data)
    if declared is None:
        return re.sub(r"^\s*<\?xml[^>]*\?>", "", decode(data, where))
    encoding = declared[1].decode()
    try:
        known = codecs.lookup(encoding).name
        if known == "utf-7":  # its plain letters may mean markup
            raise LookupError(encoding)
    except LookupError:
        raise SourceError(
            f"expected an encoding that is known, got {encoding!r}: {where}; convert it to UTF-8"
        ) from None
    return _decoded(data[declared.end() :], "gb18030" if known in {"gbk", "gb2312"} else known, where)


def read_lines(
    location: str, *, is_right: Callable[[str], bool] | None = None, problems: Problems | None = None
) -> list[str]:
    """Return the lines of a text file. Raises SourceError when its encoding is not known."""
    return decode(files.read_bytes(location), location, is_right=is_right, problems=problems).splitlines()


def head_of(location: str) -> bytes:
    """Return the first bytes of a file, those of UTF-16 as plain letters; none where there is no such file."""
    if files.is_local(location) and not files.local_path(location).is_file():
        return b""
    try:
        return files.read_range(location, 0, min(files.size(location), _HEAD)).replace(b"\0", b"")
    except FileNotFoundError:
        return b""


def _decoded(data: bytes, encoding: str, where: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise SourceError(
            f"expected text in UTF-8, got {error}: {where}; convert it, with `iconv -t UTF-8` or an editor"
        ) from None


def _text_or_none(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
