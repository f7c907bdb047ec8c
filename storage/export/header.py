"""What every format says of where its labels came from."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, escaped or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportHeader:
    """The classes of an export, and its origin."""

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    """Original ids of the classes, in the same order."""
    dataset: str
    """Name of what the images are of."""
    description: str
    """One line of text: what was labeled, and which boxes these are."""
    model_version: str
    """A short name of whoever labeled, that tools can group by."""


def xml_text(text: str) -> str:
    """Return a text with what no XML can hold as in URLs, as odd file names are: `a%1B`."""
    return _NO_XML.sub(lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode(errors="replace")), text)
