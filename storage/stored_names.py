"""Names that stand in files of this program and that readers open: of files below their folder, nothing else.

In: names of shards and tables, as dataset.json, tables.json and image tables hold them. Out: the names that
lead out of their folder. A damaged or foreign table cannot make a reader open `../../etc/passwd`,
`/etc/passwd` or a URL.
"""

from __future__ import annotations

from collections.abc import Iterable


def is_below(name: str) -> bool:
    """Return whether a name, put behind a folder and a slash, is one of something below that folder."""
    odd = not name or name.startswith("/") or "://" in name or "\0" in name
    return not odd and not {"", ".", ".."} & {*name.split("/")}


def require_below(names: Iterable[str], field: str) -> None:
    """Raise ValueError naming the first name that leads out of its folder; for checks of a file's fields."""
    for name in names:
        if not is_below(name):
            raise ValueError(f"expected names below the folder in {field}, got {name!r}")
