"""What several tests ask of batches: are the boxes on their objects, and does a position survive a checkpoint."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from pipeline.loaders.batch import View
from pipeline.settings import ViewSettings
from storage.labels import Labels


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
