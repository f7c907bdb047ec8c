"""Files that an annotation names otherwise than the disk does, as names travel between systems.

In: a folder and a name that is not there. Out: the one file that is meant, or none and the names that come near.
Taken as equal: backslashes and slashes, `%20` and a space, composed and decomposed letters, letters of another
case, another suffix of an image, more or fewer folders in front. Nothing is taken where two files fit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cached_property
from urllib.parse import unquote

from storage import files

MAX_NEAR = 3


def plain_name(name: str) -> str:
    """Return a name as all systems would write it."""
    slashed = unquote(name).replace("\\", "/")
    return unicodedata.normalize("NFC", slashed).casefold().removeprefix("./").strip("/")


def plain_stem(name: str) -> str:
    """Return the plain name of a file without its folders and its suffix."""
    return plain_name(name).rpartition("/")[2].rpartition(".")[0]


class FileFinder:
    """The files below a folder by their plain names; listed once, when the first name is looked for."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find(self, name: str) -> tuple[str | None, list[str]]:
        """Return the file below the root that a name means, relative to it, and the names that come near."""
        wanted = plain_name(name)
        base = wanted.rpartition("/")[2]
        candidates = self._index.get(base, []) + self._index.get(f"{_without_suffix(base)}.", [])
        rules: tuple[Callable[[str], bool], ...] = (
            lambda plain: plain == wanted,
            lambda plain: _ends_alike(plain, wanted),
            lambda plain: _ends_alike(_without_suffix(plain), _without_suffix(wanted)),
        )
        for fits in rules:
            fitting = sorted({candidate for candidate in candidates if fits(plain_name(candidate))})
            if len(fitting) == 1:
                return fitting[0], fitting
            if fitting:
                return None, fitting[:MAX_NEAR]
        return None, sorted({*candidates})[:MAX_NEAR]

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        """The files by their plain base name, and by `stem.` for those of another suffix."""
        index: dict[str, list[str]] = {}
        for name in files.walk_files(self._root):
            if name.endswith((".txt", ".xml", ".json")):
                continue
            base = plain_name(name).rpartition("/")[2]
            for key in (base, f"{_without_suffix(base)}."):
                index.setdefault(key, []).append(name)
        return index


def _without_suffix(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}"


def _ends_alike(one: str, other: str) -> bool:
    """Return whether one name is the other with more folders in front."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")
