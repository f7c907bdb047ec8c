"""Class names held against each other: what differs between two lists, and which names are one but for spelling.

In: names. Out: in words what differs; a name as all tools would spell it. Names that differ in the case of letters,
in spaces, hyphens and underscores, or in how accents are composed, are one name in another spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_NAMED = 5


def plain_class(name: str) -> str:
    """Return a class name without what differs between spellings."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


def difference(expected: Sequence[str], got: Sequence[str]) -> str:
    """Return in words how a list of classes differs from the one that was expected."""
    if {*expected} == {*got}:
        return "the same in another order"
    missing = [name for name in expected if name not in got]
    added = [name for name in got if name not in expected]
    spelled = {plain_class(name): name for name in missing}
    pairs = [(name, spelled[plain_class(name)]) for name in added if plain_class(name) in spelled]
    respelled = {name for pair in pairs for name in pair}
    parts = [f"{name!r} instead of {other!r}" for name, other in pairs[:MAX_NAMED]]
    for word, names in (("without", missing), ("with", added)):
        names = [name for name in names if name not in respelled]
        if names:
            more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
            parts.append(f"{word} {', '.join(names[:MAX_NAMED])}{more}")
    return "others: " + "; ".join(parts)
