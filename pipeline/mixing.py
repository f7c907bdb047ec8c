"""Mixing: the student's images, made by DALI from strong views and a `MixPlan`.

In: strong views (uint8 HWC, each of its own size) and the plan of the step. Out: normalised batches (float32
NCHW, channels last, zeros beyond the images). One graph serves everything: it resamples an image to its planned
size, flipped where planned, normalises it, places it on its canvas and erases its patches there. A mixup image
is then the sum of two such canvases, weights included; a mosaic four of them side by side. A view that is used
at its own size is not resampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn

from pipeline.graph import (
    DataNode,
    Device,
    Graph,
    Image,
    batch_tensor,
    floats_input,
    integers_input,
    inverse_maps,
    normalise,
    pixels_input,
    warp,
)
from pipeline.mix_plans import Layer, MixupPlan, MosaicPlan
from pipeline.settings import MOSAIC_TILES, ViewSettings
from pipeline.view_plans import Sizes, resize_matrices


class Mixer:
    """Makes the student's batch and the mosaic of a step."""

    def __init__(
        self,
        settings: ViewSettings,
        *,
        batch_size: int,
        num_threads: int = 2,
        device: Device = "cpu",
        device_id: int = 0,
    ) -> None:
        """`batch_size` is the most unlabeled images of a step."""
        self._std = np.array(settings.std, np.float32)
        self._graph = Graph(
            _layer_graph,
            list(settings.mean),
            device,
            batch_size=max(2 * batch_size, MOSAIC_TILES),
            num_threads=num_threads,
            device=device,
            device_id=device_id,
        )

    def mixup(self, plan: MixupPlan, current: Sequence[Image], partner: Sequence[Image]) -> torch.Tensor:
        """Return the mixed batch (B, 3, H, W); `partner` holds the cached views of the plan, or none."""
        num_images = len(plan.current)
        canvas_sizes = np.tile(np.array(plan.padded_size), (num_images, 1))
        layers = [
            self._inputs(layer, layer.offsets_N2, layer.patches_P4, canvas_sizes, weight)
            for layer, weight in zip(plan.layers, plan.weights, strict=True)
        ]
        inputs = {name: [row for layer in layers for row in layer[name]] for name in layers[0]}
        images = self._run([*current, *partner], inputs)
        return images if plan.partner is None else images[:num_images].add_(images[num_images:])

    def mosaic(self, plan: MosaicPlan, tiles: Sequence[Image]) -> torch.Tensor:
        """Return the mosaic (1, 3, H, W) of the four cached views of the plan, in its order."""
        quadrant = np.array(plan.canvas_size) // 2
        starts_42 = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * quadrant
        images_P = np.repeat(np.arange(MOSAIC_TILES), np.diff(plan.tiles.patch_offsets_N1))
        patches_P4 = plan.tiles.patches_P4 - np.tile(starts_42[images_P][:, ::-1], 2)
        inputs = self._inputs(
            plan.tiles, plan.tiles.offsets_N2 - starts_42, patches_P4, np.tile(quadrant, (MOSAIC_TILES, 1)), 1.0
        )
        tiles_4CHW = self._run(tiles, inputs)
        height, width = plan.padded_size
        mosaic = tiles_4CHW.new_zeros((1, height, width, 3)).permute(0, 3, 1, 2)
        for tile_CHW, (top, left) in zip(tiles_4CHW, starts_42.tolist(), strict=True):
            mosaic[0, :, top : top + quadrant[0], left : left + quadrant[1]] = tile_CHW
        return mosaic
