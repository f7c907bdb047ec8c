"""Score thresholds by class that follow the teacher while it trains.

In: what the teacher says of the unlabeled images of each step. Out: a threshold for every class, computed anew
from the last `every` batches of each process by one of the policies of `analysis.thresholds`; it counts from the
next step on. Until the first computation every class has the fixed threshold. State is part of a checkpoint, so a
resumed run computes the same thresholds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from analysis.thresholds import ThresholdPolicy, mixture_thresholds, prior_thresholds
from jobs.run.ranks import Ranks
from pipeline.loaders.batch import LabelCache
from storage.dataset.dataset import Dataset
from storage.labels import Labels
from storage.tables.label_table import table_labels


class ClassThresholds:
    """The thresholds of the classes, shape (C,), and the labels that the next ones come from."""

    def __init__(
        self,
        policy: ThresholdPolicy,
        *,
        score_threshold: float,
        rates_C: npt.NDArray[np.float64],
        every: int,
        images_a_batch: int,
    ) -> None:
        """`rates_C` holds the true boxes of each class an image of the labeled data."""
        self.policy = policy
        self.values_C = np.full(len(rates_C), score_threshold)
        self._score_threshold, self._rates_C, self._every = score_threshold, rates_C, every
        self._images_a_batch = images_a_batch
        self._capacity = every * images_a_batch
        self._window: list[Labels] = []

    def observe(self, weak: Labels) -> None:
        """Take the teacher's labels of one batch, before any threshold."""
        self._window.append(weak)

    def follow(self, ranks: Ranks) -> None:
        """After a step of all ranks: where the window is full, take the thresholds that it gives."""
        if len(self._window) < self._every:
            return
        windows = ranks.gather(lambda: Labels.concatenate(self._window))
        self.values_C = ranks.on_first(lambda: self._compute(Labels.concatenate(windows)))
        self._window.clear()

    def _compute(self, labels: Labels) -> npt.NDArray[np.float64]:
        if self.policy == "prior":
            return prior_thresholds(labels, self._rates_C, score_threshold=self._score_threshold)
        return mixture_thresholds(labels, len(self._rates_C), score_threshold=self._score_threshold)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next thresholds depend on."""
        window = LabelCache(self._capacity)
        window.push(Labels.concatenate(self._window))
        return {"values": torch.from_numpy(self.values_C.copy()), "window": window.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; a window of None starts anew."""
        window = LabelCache(self._capacity)
        if state["window"] is not None:
            window.load_state_dict(state["window"])
        images = range(0, len(window), self._images_a_batch)
        self.values_C = state["values"].numpy().copy()
        self._window = [window.take(range(first, first + self._images_a_batch)) for first in images]


def labeled_rates(labeled: Dataset) -> npt.NDArray[np.float64]:
    """Return the true boxes of each class an image of a labeled data set, shape (C,)."""
    labels = table_labels(labeled.ground_truth().read_all(columns=["boxes", "categories", "scores"]))
    return np.bincount(labels.categories_N, minlength=len(labeled.classes)) / max(1, len(labels))
