"""Which labels leave, found from what a user names.

In: a round's folder, a folder of rounds, or any folder above; perhaps a round's number and the data set. Out:
`LabelSource`: one complete round and its data set. Never a guess between two: what is ambiguous is an error that
names the choices.
"""

from __future__ import annotations

import contextlib

from storage.database.find_round import find_round
from storage.database.workspace import Workspace, discover
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.export.read_round import LabelSource
from storage.rounds.round import Round, RoundInfo


def find_source(location: str, *, number: int | None = None, data: str | None = None) -> LabelSource:
    """Return the latest complete round below `location`, or the one of that number.

    `data` is the folder of the data set that was labeled; left out, it is looked for below `location` and where
    it lay when it was labeled. Raises ConfigError saying what there is instead.
    """
    workspace = discover(location)
    chosen = find_round(workspace, number=number)
    assert chosen.info is not None, "only complete rounds are chosen"
    return LabelSource(
        round=chosen, info=chosen.info, dataset=_find_dataset(workspace, chosen, chosen.info, data)
    )


def _find_dataset(workspace: Workspace, round_: Round, info: RoundInfo, data: str | None) -> Dataset:
    if data is not None:
        dataset = Dataset.open(data)
        if dataset.hash != info.dataset_hash:
            raise ConfigError(
                f"expected the data set {info.dataset_name!r} that {round_.path} labeled (hash "
                f"{info.dataset_hash[:12]}), got {dataset.name!r} with hash {dataset.hash[:12]}: --data {data}"
            )
        return dataset
    same = [dataset for dataset in workspace.datasets if dataset.hash == info.dataset_hash]
    if same:
        return same[0]
    with contextlib.suppress(StoreError):
        dataset = Dataset.open(info.dataset_root)
        if dataset.hash == info.dataset_hash:
            return dataset
    raise ConfigError(
        f"expected the data set {info.dataset_name!r} that {round_.path} labeled, got nothing of its hash "
        f"below {workspace.root} or at {info.dataset_root}; name its folder with --data"
    )
