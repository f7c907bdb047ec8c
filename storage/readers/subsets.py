"""Which part of a source in parts is meant: train, val, test, as each tool spells them.

In: the names of the parts that are there, and the one that is asked for, if any. Out: one of the names. Where none
is asked for it is the only one, else the one for training. Case and the usual spellings are equal (`valid`,
`Validation`).
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.errors import SourceError

SUBSETS = ("train", "val", "test", "trainval")
_SPELLINGS = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


def choose_subset(names: Iterable[str], wanted: str | None, path: str) -> str:
    """Return the name of the part that is meant. Raises SourceError, which lists the parts, where none fits."""
    there = sorted({*names})
    if wanted is None and len(there) == 1:
        return there[0]
    fitting = [name for name in there if name == wanted]
    fitting = fitting or [name for name in there if plain_subset(name) == plain_subset(wanted or "train")]
    if len(fitting) == 1:
        return fitting[0]
    raise SourceError(
        f"expected one of the subsets {', '.join(there) or '(none)'}, got {wanted or 'none asked for'}: {path}; "
        "name one with --subset"
    )


def plain_subset(name: str) -> str:
    """Return train, val or test where a part is called so in another spelling."""
    lower = name.lower()
    return _SPELLINGS.get(lower, lower)
