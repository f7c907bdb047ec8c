"""What there is to ask about: data sets, rounds of labels and runs below one folder.

In: a folder, or values already at hand. Out: `Workspace`. Nothing is read but folder names and the small
JSON files written last, so what is found is complete; what cannot be read is named in `problems`, not
raised: one damaged folder does not keep the others from answering.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from storage import files
from storage.dataset.dataset import DATASET_FILE, IMAGES_FILE, PARTS_FOLDER, REWRITE, Dataset
from storage.errors import InputError, StoreError
from storage.rounds.round import Round, open_round

MAX_DEPTH = 5
RUN_MARKS = ("metrics.jsonl", "online_labels", "evaluations")
"""A folder with one of these is a training run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """Data sets, rounds and runs to ask about together."""

    root: str = "."
    """Names that would be ambiguous become paths relative to this."""
    datasets: tuple[Dataset, ...] = ()
    rounds: tuple[Round, ...] = ()
    runs: tuple[str, ...] = ()
    """Paths of training runs."""
    problems: tuple[str, ...] = ()

    def dataset_names(self) -> dict[str, str]:
        """Return a name for each data set by its root, unique in this workspace."""
        return self._names({dataset.root: dataset.name for dataset in self.datasets})

    def run_names(self) -> dict[str, str]:
        """Return a name for each run by its path, unique in this workspace."""
        return self._names({run: os.path.realpath(run).rsplit("/", 1)[-1] for run in self.runs})

    def latest_rounds(self) -> frozenset[str]:
        """Return the paths of each data set's latest complete round: the one that finished last."""
        newest: dict[str, Round] = {}
        for round_ in self.rounds:
            if round_.info is not None:
                other = newest.get(round_.info.dataset_hash)
                if other is None or age(other) < age(round_):
                    newest[round_.info.dataset_hash] = round_
        return frozenset(round_.path for round_ in newest.values())

    def _names(self, names: dict[str, str]) -> dict[str, str]:
        used = Counter(names.values())
        return {
            path: name if used[name] == 1 else path.removeprefix(self.root).strip("/") or name
            for path, name in names.items()
        }


def discover(root: str = ".", *, max_depth: int = MAX_DEPTH) -> Workspace:
    """Return what lies at most `max_depth` folders below `root`; hidden folders are not entered.

    Raises StoreError when `root` is no folder.
    """
    if files.is_local(root) and not files.local_path(root).is_dir():
        raise StoreError(f"expected a folder to look in, got nothing there: {root}; check --root")
    search = _Search(root=root)
    search.enter(root, max_depth)
    return Workspace(
        root=root,
        datasets=tuple(search.datasets),
        rounds=tuple(search.rounds),
        runs=tuple(search.runs),
        problems=tuple(search.problems),
    )


class _Search:
    def __init__(self, *, root: str) -> None:
        self.root = root
        self.datasets: list[Dataset] = []
        self.rounds: list[Round] = []
        self.runs: list[str] = []
        self.problems: list[str] = []
        self._seen: set[str] = set()

    def enter(self, path: str, depth: int) -> None:
        """Look at a folder, and unless it is something itself, into it."""
        real = os.path.realpath(path) if files.is_local(path) else path
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            if any(files.exists(files.join(path, name)) for name in (DATASET_FILE, PARTS_FOLDER)):
                self.datasets.append(_whole(Dataset.open(path)))
                return
            if path.rsplit("/", 1)[-1].startswith("round="):
                round_ = open_round(path)
                round_.thresholds()  # damaged ones are named here, not when something is asked
                self.rounds.append(round_)
                return
            folders = files.list_folders(path)
        except (InputError, OSError) as error:
            self.problems.append(str(error))
            return
        if any(mark in folders or files.exists(files.join(path, mark)) for mark in RUN_MARKS):
            self.runs.append(path)
        if depth:
            for name in folders:
                if name not in RUN_MARKS:
                    self.enter(files.join(path, name), depth - 1)


def _whole(dataset: Dataset) -> Dataset:
    """Return the data set, or raise StoreError when its image table is gone: no view could be made."""
    location = files.join(dataset.root, IMAGES_FILE)
    if not files.exists(location):
        raise StoreError(f"expected the image table, got no file: {location}; {REWRITE}")
    return dataset


def age(round_: Round) -> tuple[str, int, str]:
    """Return what sorts complete rounds by when they were finished."""
    assert round_.info is not None
    return round_.info.finished_at, round_.number, round_.path
