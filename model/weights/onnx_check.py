"""An exported graph held against its detector before anybody relies on it.

In: the file, the detector, how its images are normalised and padded. Out: nothing. Guaranteed: a graph that stops,
or finds other boxes, at sizes other than the one it was traced with is a ModelError.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from model.detector import Detections, Detector
from model.errors import ModelError
from model.weights.onnx_detector import OnnxDetector

PIXELS, SCORES = 0.05, 1e-3
"""How far a box and its score may lie apart."""
MATCHED = 0.9
"""Least share of boxes that are found by both: near ties fall one way or the other."""
_CELLS = ((5, 3), (7, 10))
"""Heights and widths of the images that are tried, in cells of 64 px or of the padding, whichever is larger."""


@torch.no_grad()
def require_same_boxes(
    path: Path,
    detector: Detector,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    pad_multiple: int,
) -> None:
    """Raise ModelError unless the graph finds in drawn images of two sizes what the detector finds."""
    graph = OnnxDetector(path)
    mean_311, std_311 = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    cell = pad_multiple * -(-64 // pad_multiple)
    for rows, columns in _CELLS:
        height, width = rows * cell, columns * cell
        images = _blotches(height, width)
        (ours,) = detector.predict((images - mean_311) / std_311, [(height, width)])
        try:
            (theirs,) = graph.predict(images, [(height, width)])
        except Exception as error:  # onnxruntime's own classes, one a kind of fault
            reason = " ".join(str(error).split())[-200:]
            raise ModelError(_refusal(detector, height, width, f"stops ({reason})")) from error
        if (share := min(share_found(ours, theirs), share_found(theirs, ours))) < MATCHED:
            found = f"has {share:.0%} of the boxes in common with the detector"
            raise ModelError(_refusal(detector, height, width, found))


def _blotches(height: int, width: int) -> Tensor:
    """Return a smooth image of drawn colours (1, 3, height, width), 0-255 scale."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(1, 3, height // 16, width // 16, generator=generator) * 255
    return interpolate(coarse, size=(height, width), mode="bilinear")


def share_found(first: Detections, second: Detections) -> float:
    """Return the share of the first's boxes that the second has with the same class and score; 1 of none."""
    if not len(first):
        return 1.0
    near_NM = torch.cdist(first.boxes_N4, second.boxes_N4, p=float("inf")) < PIXELS
    near_NM &= (first.scores_N[:, None] - second.scores_N).abs() < SCORES
    near_NM &= first.categories_N[:, None] == second.categories_N
    return float(near_NM.any(dim=1).float().mean())


def _refusal(detector: Detector, height: int, width: int, found: str) -> str:
    return (
        f"{type(detector).__name__} cannot be exported to ONNX: on an image of {height} x {width} px the graph "
        f"{found}; export it as --format torch, safetensors or huggingface"
    )
