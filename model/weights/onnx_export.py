"""A detector as one ONNX graph: normalisation, network and NMS inside.

In: a detector of one image at a time. Out: an ONNX model with the inputs `images` (1 x 3 x H x W, RGB, 0-255,
float32, H and W multiples of the padding) and `size` (height and width of the image on it), and the outputs
`boxes` (N x 4, xyxy, pixels), `scores` (N) and `labels` (N, from 0), best score first. What lies beyond `size`
plays no part. Guaranteed: H and W are free, or the export fails; a detector that torch cannot export is a
ModelError.

torch's exporter that traces a graph (`dynamo=True`) is used: the older one fixes sizes in silence (boxes were
64 px off). Three of torchvision's functions are replaced while it works, by what a graph can hold: NMS by
class, which looks at how many boxes there are; the clip to an image, whose size is a value of the graph here;
and the pooling of proposals, which counts those of each level.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torchvision.ops import boxes as box_ops
from torchvision.ops import poolers, roi_align

from model.detector import Detector
from model.errors import ModelError

OPSET = 20
MAX_SIDE = 8192
INPUTS = ("images", "size")
OUTPUTS = ("boxes", "scores", "labels")
_EXAMPLE = (320, 416)
"""Height and width that the graph is traced with. Unequal, so that neither stands for the other, and so large that
no level of a pyramid (the coarsest has stride 128) has a side of 1: the tracer takes a 1 for a constant, and graphs
of torchvision's FCOS stopped at other sizes."""


def write_onnx(
    path: Path,
    detector: Detector,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    pad_multiple: int,
    metadata: Mapping[str, str],
) -> None:
    """Write the detector; `metadata` stands in the model's `metadata_props`.

    Raises ModelError when a package is missing (`mixpl[onnx]`) or the detector cannot be exported.
    """
    require_packages("onnx", "onnxscript")
    if not detector.exports_to_onnx:
        raise ModelError(_refusal(detector, "torchvision's detectors and fcos-compact can"))
    graph = OnnxGraph(detector, mean=mean, std=std).eval()
    program = _exported(graph, pad_multiple)
    program.model.metadata_props.update(metadata)
    if not all(isinstance(side, str) for side in _input_shape(program)):
        raise ModelError(_refusal(detector, f"its graph has the fixed size {_input_shape(program)}"))
    program.save(path, external_data=False)


class OnnxGraph(nn.Module):
    """A detector from pixels to boxes, of one image."""

    mean_311: Tensor
    std_311: Tensor

    def __init__(self, detector: Detector, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("mean_311", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std_311", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels of the one image."""
        height, width = size.unbind()
        rows_H = torch.arange(images.shape[2]) < height
        columns_W = torch.arange(images.shape[3]) < width
        inside_HW = rows_H[:, None] & columns_W
        normalised_BCHW = (images - self.mean_311) / self.std_311 * inside_HW
        (found,) = self.detector.detect(normalised_BCHW, [(height, width)])  # type: ignore[list-item]
        return found.boxes_N4, found.scores_N, found.categories_N


def require_packages(*names: str) -> None:
    """Raise ModelError unless these packages of the extra are installed."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise ModelError(f"ONNX needs {', '.join(missing)}, not installed: pip install 'mixpl[onnx]'")


@torch.no_grad()
def _exported(graph: OnnxGraph, pad_multiple: int) -> torch.onnx.ONNXProgram:
    height, width = (-(-side // pad_multiple) * pad_multiple for side in _EXAMPLE)
    images = torch.rand(1, 3, height, width) * 255
    largest = MAX_SIDE // pad_multiple
    sides = {
        2 + axis: pad_multiple * torch.export.Dim(name, min=2, max=largest)
        for axis, name in enumerate(("rows", "columns"))
    }
    # Scales of the pooled levels are computed from the first sizes that torchvision sees, and kept.
    graph.detector.predict(images, [(height, width)])
    try:
        with _what_onnx_has(), warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                (images, torch.tensor([height - 3, width - 5])),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={"images": sides, "size": {}},
                input_names=INPUTS,
                output_names=OUTPUTS,
                verbose=False,
            )
    except Exception as error:  # of torch's own making, of many kinds
        raise ModelError(_refusal(graph.detector, " ".join(str(error).split())[-200:])) from error
    assert program is not None, "the exporter returns a program with dynamo=True"
    return program


@contextlib.contextmanager
def _what_onnx_has() -> Iterator[None]:
    with (
        mock.patch.object(box_ops, "batched_nms", nms_by_class),
        mock.patch.object(box_ops, "clip_boxes_to_image", clip_to_size),
        mock.patch.object(poolers, "_multiscale_roi_align", pool_by_level),
    ):
        yield


def nms_by_class(boxes_N4: Tensor, scores_N: Tensor, categories_N: Tensor, iou: float) -> Tensor:
    """Return what `torchvision.ops.batched_nms` does, by plain NMS of boxes that are apart by class."""
    extent = torch.cat([boxes_N4.flatten(), boxes_N4.new_zeros(1)]).max() + 1  # no box: max() has no value
    apart_N4 = boxes_N4 + (categories_N.to(boxes_N4) * extent)[:, None]
    kept: Tensor = box_ops.nms(apart_N4, scores_N, iou)
    return kept


def clip_to_size(boxes_N4: Tensor, size: tuple[int | Tensor, int | Tensor]) -> Tensor:
    """Return what `torchvision.ops.clip_boxes_to_image` does, for a size of tensors too."""
    height, width = (torch.as_tensor(side).to(boxes_N4) for side in size)
    return torch.minimum(boxes_N4.clamp(min=0), torch.stack([width, height, width, height]))


def pool_by_level(
    levels: Sequence[Tensor],
    boxes: list[Tensor],
    output_size: tuple[int, int],
    sampling_ratio: int,
    scales: Sequence[float],
    mapper: Callable[[list[Tensor]], Tensor],
) -> Tensor:
    """Return what torchvision pools for the proposals of one image, each from the level of its size.

    Every proposal is pooled at every level and one is taken: how many have which level is no size of a graph.
    """
    level_N111 = mapper(boxes)[:, None, None, None]
    pooled = [
        roi_align(features, boxes, output_size, spatial_scale=scale, sampling_ratio=sampling_ratio)
        for features, scale in zip(levels, scales, strict=True)
    ]
    result: Tensor = pooled[0]
    for level, at_level in enumerate(pooled[1:], 1):
        result = torch.where(level_N111 == level, at_level, result)
    return result


def _input_shape(program: torch.onnx.ONNXProgram) -> list[int | str]:
    """Return height and width of the images: names where they are free."""
    shape = program.model.graph.inputs[0].shape
    assert shape is not None, "an input has a shape"
    return [side if isinstance(side, int) else str(side) for side in list(shape)[2:]]


def _refusal(detector: Detector, why: str) -> str:
    return (
        f"{type(detector).__name__} cannot be exported to ONNX with free height and width ({why}); export it as "
        "--format torch, safetensors or huggingface"
    )
