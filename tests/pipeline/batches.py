"""What several tests need of batches: a loader of them, boxes on their objects, a checkpoint's round trip."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from pipeline.graphs.graph import GraphDevice
from pipeline.loaders.batch import View
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.samples.stream import OrderSettings
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels

SETTINGS_OF: dict[str, tuple[str, ...]] = {
    "labeled": ("batch_labeled", "repeat_factors", "min_side"),
    "unlabeled": ("batch_unlabeled", "mix", "unlabeled_start_step", "labels", "labels_until"),
    "order": ("seed", "rank", "world", "shuffle_window"),
    "device": ("kind", "index", "num_threads"),
}
"""Which settings each value of a loader holds; others are the loader's own."""
NAMES = {"batch_labeled": "batch_size", "batch_unlabeled": "batch_size", "unlabeled_start_step": "start_step"}
"""What a setting is called there, where two values have one of that name."""


def open_loader(labeled: Dataset | None, unlabeled: Dataset | None, **settings: Any) -> TrainLoader:
    """Return a loader, its settings given side by side, as tests change one at a time."""
    of_value: dict[str, dict[str, Any]] = {
        value: {NAMES.get(name, name): settings.pop(name) for name in names if name in settings}
        for value, names in SETTINGS_OF.items()
    }
    return TrainLoader(
        None if labeled is None else LabeledData(dataset=labeled, **of_value["labeled"]),
        None if unlabeled is None else UnlabeledData(dataset=unlabeled, **of_value["unlabeled"]),
        order=OrderSettings(**of_value["order"]),
        device=GraphDevice(**of_value["device"]),
        **settings,
    )


def assert_true_colours(view: View, settings: ViewSettings, labels: Labels) -> None:
    """At the centre of every box the pixel has the colour of the box's class; there are two boxes an image."""
    assert len(labels.boxes_N4) >= 2 * len(labels)
    for index in range(len(labels)):
        one = labels.image(index)
        for box, category in zip(one.boxes_N4, one.categories_N, strict=True):
            x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
            rgb = view.images_BCHW[index, :, y, x].numpy() * np.array(settings.std) + np.array(settings.mean)
            assert np.argmax(rgb) == category, (index, box, rgb)
            assert rgb.max() > 200, (index, box, rgb)


def through_a_checkpoint(resume: dict[str, Any]) -> dict[str, Any]:
    """Return a position as it comes back from a file of weights and plain values."""
    file = io.BytesIO()
    torch.save(resume, file)
    loaded: dict[str, Any] = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    return loaded
