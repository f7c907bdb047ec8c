"""Mixing: the student's images, made by DALI from strong views and a `MixPlan`.

In: strong views (uint8 HWC, each of its own size) and the plan of the step. Out: normalised batches (float32
NCHW, channels last, zeros beyond the images). One graph serves everything: it resamples an image to its
planned size, flipped where planned, normalises it, places it on its canvas and erases its patches there. A
mixup image is then the sum of two such canvases, weights included; a mosaic four of them side by side. A view
that is used at its own size is not resampled.

In reference mode partners and tiles are taken pixel by pixel before the graph, in numpy or torch, with the same
float32 arithmetic as `torch.nn.functional.interpolate` on CUDA: the result is its result bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn

from pipeline.graphs.graph import (
    CPU,
    DataNode,
    Device,
    Graph,
    GraphDevice,
    Image,
    batch_tensor,
    finished,
    floats_input,
    integers_input,
    inverse_maps,
    normalise,
    pixels_input,
    require_sizes,
    warp,
)
from pipeline.plans.geometry import Sizes, resize_matrices
from pipeline.plans.mix_plans import Layer, MixupPlan, MosaicPlan
from pipeline.settings import MOSAIC_TILES, ViewSettings


class Mixer:
    """Makes the student's batch and the mosaic of a step."""

    def __init__(self, settings: ViewSettings, *, batch_size: int, device: GraphDevice = CPU) -> None:
        """`batch_size` is the most unlabeled images of a step."""
        self._std = np.array(settings.std, np.float32)
        self._graph = Graph(
            _layer_graph,
            list(settings.mean),
            device.kind,
            batch_size=max(batch_size, MOSAIC_TILES),
            device=device,
        )

    def mixup(self, plan: MixupPlan, current: Sequence[Image], partner: Sequence[Image]) -> torch.Tensor:
        """Return the mixed batch (B, 3, H, W); `partner` holds the plan's cached views, none if unmixed."""
        images_BCHW = self._run(current, plan.current, plan.padded_size, plan.weights[0])
        if plan.partner is None:
            return images_BCHW
        picked, layer = _picked(plan.partner, partner)
        return finished(images_BCHW.add_(self._run(picked, layer, plan.padded_size, plan.weights[1])))

    def mosaic(self, plan: MosaicPlan, tiles: Sequence[Image]) -> torch.Tensor:
        """Return the mosaic (1, 3, H, W) of the four cached views of the plan, in its order."""
        height, width = plan.canvas_size[0] // 2, plan.canvas_size[1] // 2
        starts_42 = np.array([[0, 0], [0, width], [height, 0], [height, width]])
        picked, layer = _picked(_shifted(plan.tiles, -starts_42), tiles)
        tiles_4CHW = self._run(picked, layer, (height, width), 1.0)
        mosaic_HWC = tiles_4CHW.new_zeros((*plan.padded_size, 3))
        for tile_CHW, (top, left) in zip(tiles_4CHW, starts_42.tolist(), strict=True):
            mosaic_HWC[top : top + height, left : left + width] = tile_CHW.permute(1, 2, 0)
        return finished(mosaic_HWC.permute(2, 0, 1)[None])

    def _run(
        self,
        images: Sequence[Image],
        layer: Layer,
        canvas_size: tuple[int, int],
        weight: float,
    ) -> torch.Tensor:
        """Return each image of the layer on a canvas of its own, times the weight."""
        require_sizes("strong views", images, layer.source_sizes_N2)
        free_N2 = np.array(canvas_size) - layer.sizes_N2
        fractions_N2 = (layer.offsets_N2 / np.maximum(free_N2, 1)).astype(np.float32)
        resamples_N = layer.flips_N | (layer.sizes_N2 != layer.source_sizes_N2).any(axis=1)
        resize_N33 = resize_matrices(layer.source_sizes_N2, layer.sizes_N2, layer.flips_N)
        patches = np.split(layer.patches_P4.astype(np.float32), layer.patch_offsets_N1[1:-1])
        inputs = {
            "image": list(images),
            "resamples": resamples_N.astype(np.int32),
            "inverse": inverse_maps(resize_N33),
            "size": layer.sizes_N2.astype(np.float32),
            "canvas": np.tile(np.array(canvas_size, np.float32), (len(layer), 1)),
            "top": np.ascontiguousarray(fractions_N2[:, 0]),
            "left": np.ascontiguousarray(fractions_N2[:, 1]),
            "std": np.tile(self._std / np.float32(weight), (len(layer), 1)),  # weighting costs nothing here
            "patch_start": [patch_P4[:, 1::-1].flatten() for patch_P4 in patches],
            "patch_sides": [(patch_P4[:, :1:-1] - patch_P4[:, 1::-1]).flatten() for patch_P4 in patches],
        }
        return batch_tensor(self._graph.run(inputs)[0])


def _layer_graph(mean: list[float], device: Device) -> DataNode:
    image = pixels_input("image", device)
    inverse, size = floats_input("inverse", 2), floats_input("size", 1)
    if integers_input("resamples") == 1:
        image = warp(image, inverse, size, device, border=None)
    canvas, std = floats_input("canvas", 1), floats_input("std", 1)
    top, left = floats_input("top", 0), floats_input("left", 0)
    placed = normalise(image, canvas, mean=mean, std=std, top=top, left=left)
    starts, sides = floats_input("patch_start", 1), floats_input("patch_sides", 1)
    return fn.erase(placed, anchor=starts, shape=sides, axis_names="HW", fill_value=0.0)


def _picked(layer: Layer, images: Sequence[Image]) -> tuple[list[Image], Layer]:
    """Return a layer of the reference mode with its images resized and flipped; any other as it is."""
    if layer.scales_N is None:
        return list(images), layer
    require_sizes("strong views", images, layer.source_sizes_N2)
    picked = [
        nearest(image, size, scale, flip)
        for image, size, scale, flip in zip(
            images, layer.sizes_N2.tolist(), layer.scales_N.tolist(), layer.flips_N.tolist(), strict=True
        )
    ]
    plain = replace(layer, source_sizes_N2=layer.sizes_N2, flips_N=np.zeros(len(layer), bool), scales_N=None)
    return picked, plain


def nearest(image: Image, size: Sequence[int], scale: float, flip: bool) -> Image:
    """Return the image of (height, width) `size` whose pixel i is pixel floor(i / scale), then mirrored."""
    rows, columns = (_sources(*sides, scale) for sides in zip(size, image.shape, strict=False))
    if flip:
        columns = columns[::-1].copy()
    if isinstance(image, torch.Tensor):
        on_device = [torch.from_numpy(index).to(image.device) for index in (rows, columns)]
        return finished(image.index_select(0, on_device[0]).index_select(1, on_device[1]))
    return image.take(rows, axis=0).take(columns, axis=1)


def _sources(side: int, source_side: int, scale: float) -> npt.NDArray[np.int64]:
    if side == source_side:  # torch's CUDA kernel copies then, whatever the scale; its CPU kernels disagree
        return np.arange(side)
    # float32 and the reciprocal, as torch's kernel computes it: another rounding picks other pixels.
    points = np.arange(side, dtype=np.float32) * np.float32(1 / scale)
    indices: npt.NDArray[np.int64] = np.floor(points).astype(np.int64).clip(max=source_side - 1)
    return indices


def _shifted(layer: Layer, shifts_N2: Sizes) -> Layer:
    """Return the layer with each image and its patches moved by (y, x) on its canvas."""
    shifts_P2 = np.repeat(shifts_N2, np.diff(layer.patch_offsets_N1), axis=0)
    return replace(
        layer,
        offsets_N2=layer.offsets_N2 + shifts_N2,
        patches_P4=layer.patches_P4 + np.tile(shifts_P2[:, ::-1], 2),
    )
