"""JSON of annotation tools: a file in a typed form, and its entries one by one, so that each can be wrong alone.

In: the path of a JSON file and the msgspec types of it and of its entries. Out: the values, or for an entry in a
few words which field is wrong and what stands there.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from storage import files
from storage.errors import SourceError
from storage.readers.coco_values import shown
from storage.readers.text import decode

T = TypeVar("T")
_FIELD = re.compile(r"at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`")


def read_json(location: str, kind: type[T], tool: str) -> tuple[T, bytes]:
    """Return a file of a tool and its bytes. Raises SourceError, which names the file, when it is none."""
    data = files.read_bytes(location)
    try:
        return msgspec.json.decode(decode(data, location), type=kind), data
    except msgspec.DecodeError as error:
        raise SourceError(
            f"expected JSON of {tool}, got {error}: {location}; is the file complete?"
        ) from None


def read_entry(entry: msgspec.Raw, kind: type[T]) -> T | str:
    """Return an entry, or what is wrong with it."""
    try:
        return msgspec.json.decode(entry, type=kind)
    except msgspec.DecodeError as error:
        fields: Any = json.loads(bytes(entry))
        if not isinstance(fields, dict):
            return f"{str(fields)[:60]!r} in place of an object"
        name = _FIELD.search(str(error)) or _MISSING.search(str(error))
        return shown(fields, name[1]) if name else str(error)
