"""What a small round of labels says of itself."""

from __future__ import annotations

from typing import Any

from storage.dataset.dataset import Dataset
from storage.rounds.round import RoundInfo


def round_info(dataset: Dataset | None = None, number: int = 1, **others: Any) -> RoundInfo:
    """Return the head of a round over all images of a data set, or of one that lies nowhere.

    `others` are the fields that differ.
    """
    fields: dict[str, Any] = {
        "number": number,
        "dataset_name": "unlabeled" if dataset is None else dataset.name,
        "dataset_root": "x" if dataset is None else dataset.root,
        "dataset_hash": "h" if dataset is None else dataset.hash,
        "classes": () if dataset is None else dataset.classes,
        "score_threshold": 0.5,
        "num_images": 0 if dataset is None else dataset.num_images,
        "num_boxes": 0,
        "seconds": 1.0,
        "provenance": {},
    }
    return RoundInfo(**fields | others)
