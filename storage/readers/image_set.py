"""What a source holds before it is sharded: images in order, classes, boxes where they are known.

In: an annotated source (read by `storage.readers.coco`, `storage.readers.voc`, `storage.readers.yolo`) or a plain
folder of images (`storage.readers.folder`). Out: `ImageSet`. Guaranteed: image ids are unique, every box is finite,
inside its image and has an area, every category is an index into `classes`. What was repaired or dropped on the way
is in `problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.image_check import Frame
from storage.problems import Problems
from storage.truth import Truth


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageSet:
    """B images with their N boxes, as read from one source."""

    path: str
    sha256: str
    """Of the annotation file, or of the list of file names of a folder."""
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: npt.NDArray[np.int32]
    """Shape (B, 2): height and width as the source says; 0 where it does not say."""
    truth: Truth | None
    """The boxes of every image; None when the source holds no annotations at all."""
    split: Mapping[str, Any] | None
    """What `mixpl split` noted in the file's info."""
    problems: Problems
    frame: Frame = "upright"
    """What sizes and boxes are of; shards always hold those of the upright image."""
    num_annotations: int = 0
    """Objects that the source annotates, before any is dropped or kept apart."""
    num_ignored: int = 0
    """Files of a folder that are no images by their names."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth keeping in `dataset.json`, as plain values: the format, where it is not COCO's or a
    folder, and what only that format knows."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)
