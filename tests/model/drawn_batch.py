"""A tiny drawn data set: flat rectangles whose colour is their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.detector import Target

COLOURS = ((2.0, -1.0, -1.0), (-1.0, 2.0, -1.0), (-1.0, -1.0, 2.0))


@dataclass(frozen=True, kw_only=True)
class DrawnBatch:
    images_BCHW: Tensor
    sizes_B2: list[tuple[int, int]]
    targets: list[Target]


def draw_batch(
    *, num_images: int, side: int, seed: int, boxes_an_image: int = 3, scale: int = 1
) -> DrawnBatch:
    """Flat rectangles on grey noise; the colour is the class. The last image has a narrower valid area.

    A rectangle is 10 to 14 times `scale` pixels wide and 10 to 23 times high.
    """
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(0, 0.3, (num_images, 3, side, side)).astype(np.float32))
    sizes, targets = [], []
    for index in range(num_images):
        height = width = side if index < num_images - 1 else side - 8
        images[index, :, height:] = 0
        images[index, :, :, width:] = 0
        boxes, categories = [], []
        for column in range(boxes_an_image):
            left = column * width // boxes_an_image + int(rng.integers(1, 4))
            top = int(rng.integers(1, height // 2))
            right, bottom = left + scale * int(rng.integers(10, 15)), top + scale * int(rng.integers(10, 24))
            bottom = min(bottom, height)
            category = int(rng.integers(len(COLOURS)))
            images[index, :, top:bottom, left:right] = torch.tensor(COLOURS[category]).view(3, 1, 1)
            boxes.append([left, top, right, bottom])
            categories.append(category)
        sizes.append((height, width))
        targets.append(
            Target(boxes_N4=torch.tensor(boxes, dtype=torch.float32), categories_N=torch.tensor(categories))
        )
    return DrawnBatch(
        images_BCHW=images.contiguous(memory_format=torch.channels_last), sizes_B2=sizes, targets=targets
    )
