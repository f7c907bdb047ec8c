"""Whether a round is one of a data set: the same images, classes and shards, and enough of their labels.

In: a round and the data set that its labels are wanted for. Out: what the round says of itself, and the threshold
of each class; or a StoreError that names what differs. Guaranteed: a round that is still being labeled is taken
only where the caller takes part of the images (`partial`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.rounds.round import Round


def fitting_terms(
    round_: Round, dataset: Dataset, classes: tuple[str, ...], *, partial: bool
) -> dict[str, Any]:
    """Return what a round says of itself. Raises StoreError unless it is one of these images and classes."""
    if round_.info is None and not partial:
        raise StoreError(
            f"expected a complete round, got an incomplete one: {round_.path}; run `mixpl label` to its end, or "
            "take the shards that are labeled (--labels.partial)"
        )
    terms = asdict(round_.info) if round_.info is not None else (round_.terms() or {})
    images_hash = terms.get("dataset_hash") or terms.get("provenance", {}).get("dataset_hash")
    if images_hash is None or "score_threshold" not in terms:
        raise StoreError(
            f"expected a round of labels, got one that nobody began: {round_.path}; check the path"
        )
    if images_hash != dataset.hash:
        origin = terms.get("dataset_root") or terms["provenance"].get("dataset")
        raise StoreError(
            f"expected labels of {dataset.root} (hash {dataset.hash[:12]}), got those of {origin} (hash "
            f"{images_hash[:12]}): {round_.path}; label {dataset.root} with `mixpl label`, or name a round of it"
        )
    if round_.info is not None and round_.info.classes != classes:
        raise StoreError(
            f"expected labels of the classes {', '.join(classes)}, got {', '.join(round_.info.classes)}: "
            f"{round_.path}; train with the classes that the teacher had"
        )
    return terms


def thresholds_of(round_: Round, terms: Mapping[str, Any], num_classes: int) -> npt.NDArray[np.float64]:
    """Return the score threshold of each class; a round still being labeled gets those by class last."""
    if round_.complete:
        return round_.class_thresholds()
    return np.full(num_classes, float(terms["score_threshold"]))


def require_tables(round_: Round, shards: Sequence[str], stems: Mapping[str, str], *, partial: bool) -> None:
    """Raise StoreError for a table of another shard, and, unless `partial`, for a shard without one.

    `shards` are the stems of the data set's shards, `stems` is `round_.tables()`.
    """
    foreign = sorted(stems.keys() - set(shards))
    missing = [shard for shard in shards if shard not in stems]
    if foreign:
        raise StoreError(
            f"expected a label table a shard, got one for {foreign[0]}, which the data set does not have "
            f"({len(foreign)} such tables): {round_.path}; "
            "the images were packed anew since: delete the folder and label again"
        )
    if missing and not partial:
        raise StoreError(
            f"expected a label table for each of {len(shards)} shards, got none for {len(missing)}, the first is "
            f"{missing[0]}: {round_.path}; restore it (`mixpl verify` says how), or leave those images out "
            "(--labels.partial)"
        )
