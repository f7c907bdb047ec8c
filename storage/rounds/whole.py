"""Whether the tables of a complete round are those with which it was finished, for readers that trust them blindly.

In: a round, and its data set's shards where they are known. Out: nothing, or a StoreError that names the table.
Guaranteed: a missing table is an error and not fewer rows; of local tables every byte is looked at, once a process
(40 ms for 1.2 million boxes): DuckDB, which reads them itself, checks no checksum. Over a network whole tables
would have to be fetched for it: there `mixpl verify` looks at the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.rounds.round import Round, RoundInfo
from storage.rounds.round_thresholds import RELABEL
from storage.tables.label_store import LabelStore

READERS = 4
"""Tables that are read at once: hashing lets other threads run."""

_SEEN: set[tuple[str, int, int, str]] = set()
"""Location, size, time of change and sha256 of the tables that this process has looked at."""


def require_whole(round_: Round, datasets: Iterable[Dataset]) -> None:
    """Raise StoreError unless a complete round has every table, each with the bytes that were written.

    `datasets` are those at hand; the round's own may be among them.
    """
    assert round_.info is not None, "only a complete round is whole"
    shards = () if round_.sha256 else shards_of(round_.info, datasets)  # it knows its tables itself
    if lost := round_.lost_tables(shards):
        raise StoreError(
            f"expected every table of a complete round, got {len(lost):,} missing, the first is {lost[0]}: "
            f"{round_.path}; restore it, or {RELABEL}"
        )
    if files.is_local(round_.path):
        store = round_.labels()
        with ThreadPoolExecutor(READERS, thread_name_prefix="check-tables") as pool:
            list(pool.map(lambda stem: _look_at(store, stem, round_.sha256[stem]), sorted(round_.sha256)))


def shards_of(info: RoundInfo, datasets: Iterable[Dataset]) -> Sequence[str]:
    """Return the shards that were labeled; none where their data set is neither at hand nor where it was."""
    for dataset in datasets:
        if dataset.hash == info.dataset_hash:
            return dataset.shards
    dataset_there = dataset_of(info)
    return () if dataset_there is None else dataset_there.shards


def dataset_of(info: RoundInfo) -> Dataset | None:
    """Return the data set that was labeled, where it still lies there."""
    try:
        dataset = Dataset.open(info.dataset_root)
    except (StoreError, OSError):
        return None
    return dataset if dataset.hash == info.dataset_hash else None


def _look_at(store: LabelStore, stem: str, sha256: str) -> None:
    path = files.local_path(store.path(stem))
    stat = path.stat()
    seen = (str(path), stat.st_size, stat.st_mtime_ns, sha256)
    if seen not in _SEEN:
        if store.checksum(stem) != sha256:
            raise StoreError(
                f"expected the bytes with which the round was finished, got others: {path}; copy the table again "
                f"from where it is whole, or delete it and {RELABEL}"
            )
        _SEEN.add(seen)
