"""The round that a user means, by the one rule of every command.

In: a workspace, or a folder to look in, and what was named: a round's folder, its number, the data set that it
labeled, or nothing. Out: one `Round`. Guaranteed: never a guess between two; what is ambiguous or not there is an
error that names the choices.
"""

from __future__ import annotations

from storage import files
from storage.database.workspace import Workspace, age, discover
from storage.errors import ConfigError
from storage.rounds.round import Round, open_round


def find_round(workspace: Workspace, *, number: int | None = None, dataset: str | None = None) -> Round:
    """Return the complete round of that number, or without one the latest complete round.

    `dataset` is the name or hash of the data set that was labeled.
    """
    wanted = "a complete round" if number is None else f"a complete round {number}"
    complete = _complete(workspace, dataset)
    latest = workspace.latest_rounds()
    rounds = [
        round_
        for round_ in complete
        if (round_.path in latest if number is None else round_.number == number)
    ]
    if len(rounds) == 1:
        return rounds[0]
    of = "" if dataset is None else f" of data set {dataset[:12]}"
    if rounds:
        raise ConfigError(
            f"expected {wanted}{of}, got {len(rounds)}: {_paths(rounds)}; name the folder of one"
        )
    others = [*map(_described, workspace.rounds), *workspace.problems]
    raise ConfigError(
        f"expected {wanted}{of} below {workspace.root}, got {', '.join(others) or 'no round at all'}; write or "
        "finish one with `mixpl label`, or name the folder of a round"
    )


def find_named_round(name: str, *, root: str, dataset: str | None = None) -> Round:
    """Return the round, complete or not, that a folder names, or a number among the rounds below `root`."""
    if not name.isdigit():
        if not files.exists(name):
            raise ConfigError(f"expected a round's number or folder, got {name!r}, which is neither")
        return open_round(name)
    rounds = [
        round_
        for round_ in discover(root).rounds
        if round_.number == int(name) and (dataset is None or _labels(round_, dataset))
    ]
    if len(rounds) != 1:
        paths = f": {_paths(rounds)}" if rounds else ""
        raise ConfigError(
            f"expected one round with number {name} below {root}, got {len(rounds)}{paths}; name its folder"
        )
    return rounds[0]


def last_two_rounds(root: str, dataset: str | None = None) -> tuple[Round, Round]:
    """Return the last two complete rounds of one data set below a folder, the older one first."""
    complete = _complete(discover(root), dataset)
    names = sorted({round_.info.dataset_name for round_ in complete if round_.info is not None})
    if len(names) > 1:
        raise ConfigError(f"expected rounds of one data set, got those of {', '.join(names)}; give --dataset")
    if len(complete) < 2:
        raise ConfigError(
            f"expected two complete rounds below {root}, got {len(complete)}; label with other weights first"
        )
    older, newer = sorted(complete, key=age)[-2:]
    return older, newer


def _complete(workspace: Workspace, dataset: str | None) -> list[Round]:
    return [
        round_
        for round_ in workspace.rounds
        if round_.complete and (dataset is None or _labels(round_, dataset))
    ]


def _labels(round_: Round, dataset: str) -> bool:
    return round_.info is not None and dataset in {round_.info.dataset_name, round_.info.dataset_hash}


def _described(round_: Round) -> str:
    return f"{round_.path} ({f'of {round_.info.dataset_name}' if round_.info else 'incomplete'})"


def _paths(rounds: list[Round]) -> str:
    return ", ".join(round_.path for round_ in rounds)
