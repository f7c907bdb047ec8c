"""The small JSON files of this program, and the JSON in the metadata of its tables: written whole, read typed.

In: a value, its `HeadFormat` and where it belongs. Out: JSON text with `schema_version` in it; and the value again.
Guaranteed: broken JSON, a field that is missing or of a wrong type, and text of another schema version are a
StoreError that names field, file and remedy. Fields that this version does not know are passed over; text without a
schema version is of the first one, as all files were that had none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec

from storage import files
from storage.errors import StoreError
from storage.regular import NotRegularError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number of things, as a table of 64 bits can hold it."""
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadFormat(Generic[T]):
    """What a kind of JSON file holds, and what its errors say."""

    kind: type[T]
    """A dataclass, or a type such as `dict[str, Any]`; its `__post_init__` raises ValueError for a faulty file."""
    what: str
    """Names the kind of file: "a data set"."""
    remedy: str
    """What to do about a damaged one: "delete the folder and write the set again"."""
    version: int = 1
    fields: type[Any] | None = None
    """A dataclass of what is asked for in a mapping, which is kept whole."""

    def encode(self, content: DataclassInstance | Mapping[str, Any], *, indent: int | None = 2) -> bytes:
        """Return a dataclass or a mapping as JSON text, the same for fields in any order."""
        fields = content if isinstance(content, Mapping) else asdict(content)
        content = {**fields, "schema_version": self.version}
        return json.dumps(content, indent=indent, sort_keys=True, ensure_ascii=False).encode()

    def write(self, location: str, content: DataclassInstance | Mapping[str, Any]) -> None:
        """Write a dataclass or a mapping as a JSON file, completely or not at all."""
        files.write_atomic(location, self.encode(content) + b"\n")

    def read(self, location: str, **more: object) -> T | None:
        """Return what a file holds, or None where there is none; `more` are fields that do not stand in it."""
        try:
            text = files.read_bytes(location)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (IsADirectoryError, NotRegularError) as error:
            raise StoreError(
                f"expected {self.what}, got {error.strerror}: {location}; {self.remedy}"
            ) from None
        return self.parse(text, where=location, **more)

    def parse(self, text: bytes, *, where: str, **more: object) -> T:
        """Return what the text of a JSON object holds."""
        try:
            head = msgspec.json.decode(text, type=dict[str, Any])
            version = head.pop("schema_version", 1)
            require_version(version, self.version, what=self.what, where=where, remedy=self.remedy)
            if self.fields is not None:
                msgspec.convert(head, self.fields)
            return msgspec.convert({**head, **more}, self.kind)
        except msgspec.ValidationError as error:
            raise StoreError(
                f"expected the fields of {self.what}, got a file with a fault ({error}): {where}; {self.remedy}"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"expected JSON, got {error}: {where}; {self.remedy}") from None


def require_version(version: object, expected: int, *, what: str, where: str, remedy: str) -> None:
    """Raise StoreError unless a file is of the schema version that this program reads."""
    if version != expected:
        newer = isinstance(version, int) and version > expected
        advice = "a newer mixpl wrote it: update this one" if newer else remedy
        raise StoreError(
            f"expected {what} of schema version {expected}, got version {version}: {where}; {advice}"
        )
