"""An exported graph finds what the detector finds, at any size, with what lies beside the image left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.detector import Detections, Detector, Sizes
from model.detectors.build import DetectorName, build_detector
from model.detectors.compact_fcos.detector import CompactFCOS
from model.errors import ModelError, TorchFileError
from model.weights.onnx_detector import OnnxDetector
from model.weights.onnx_export import OnnxGraph, clip_to_size, nms_by_class, write_onnx

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PIXELS, SCORES = 2e-3, 1e-5
"""How far boxes and scores may lie apart: other kernels add in another order."""


def perturbed(name: DetectorName) -> Detector:
    """Return a detector whose scores differ from box to box, as those of a trained one do: no ties."""
    backbone = None if name == "fcos-compact" else "resnet18"
    detector = build_detector(name, num_classes=3, seed=0, backbone=backbone, size="compact").eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
        for part, parameter in detector.named_parameters():
            if name == "retinanet-resnet50" and "classification_head" in part and parameter.dim() == 4:
                # drawn so small that all scores are the bias's
                torch.nn.init.kaiming_normal_(parameter, generator=generator)
    return detector


def smooth_image(height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(height)) * 255
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


@pytest.mark.parametrize(
    "name", ["fcos-compact", "fasterrcnn-resnet50", "fcos-resnet50", "retinanet-resnet50"]
)
def test_boxes_of_the_graph_are_those_of_the_detector(name: DetectorName, tmp_path: Path) -> None:
    detector = perturbed(name)
    path = tmp_path / "w.onnx"
    write_onnx(path, detector, mean=MEAN, std=STD, pad_multiple=32, metadata={"mixpl": "card"})
    graph = OnnxDetector(path, threads=1)
    assert graph.card == "card"
    for height, width in ((128, 96), (192, 256)):
        images = smooth_image(height, width)
        size = (height - 9, width - 30)
        with torch.no_grad():
            normalised = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
            normalised[..., size[0] :, :] = 0
            normalised[..., size[1] :] = 0
            (ours,) = detector.predict(normalised, [size])
        (theirs,) = graph.predict(images, [size])
        assert len(ours) == len(theirs) > 5
        torch.testing.assert_close(theirs.scores_N, ours.scores_N, atol=SCORES, rtol=0)
        torch.testing.assert_close(theirs.boxes_N4, ours.boxes_N4, atol=PIXELS, rtol=0)
        assert torch.equal(theirs.categories_N, ours.categories_N)


def test_what_stands_in_for_torchvision_does_what_it_does() -> None:
    from torchvision.ops import boxes as box_ops

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 5 + torch.rand(200, 2, generator=generator) * 30], dim=1) - 10
    scores, classes = torch.rand(200, generator=generator), torch.arange(200) % 3
    expected = box_ops.batched_nms(boxes, scores, classes, 0.5)
    assert torch.equal(nms_by_class(boxes, scores, classes, 0.5), expected)
    assert len(nms_by_class(boxes[:0], scores[:0], classes[:0], 0.5)) == 0
    expected = box_ops.clip_boxes_to_image(boxes, (50, 40))
    assert torch.equal(clip_to_size(boxes, (torch.tensor(50), torch.tensor(40))), expected)


def test_a_detector_whose_graph_cannot_be_made_is_refused(tmp_path: Path) -> None:
    class Asks(CompactFCOS):
        def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
            return super().detect(images_BCHW, sizes_B2) if images_BCHW.mean().item() > -9 else []

    with pytest.raises(ModelError, match=r"Asks cannot be exported to ONNX .*--format torch"):
        write_onnx(tmp_path / "w.onnx", Asks(num_classes=2), mean=MEAN, std=STD, pad_multiple=32, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_detector_of_the_detr_family_is_refused_at_once(tmp_path: Path) -> None:
    detector = build_detector("detr", num_classes=2, size="compact", seed=0)
    with pytest.raises(ModelError, match=r"cannot be exported .*torchvision's detectors .*huggingface"):
        write_onnx(tmp_path / "w.onnx", detector, mean=MEAN, std=STD, pad_multiple=32, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_text("hello")
    with pytest.raises(TorchFileError, match="onnxruntime cannot load it"):
        OnnxDetector(tmp_path / "w.onnx")


def test_pixels_beside_the_image_play_no_part() -> None:
    graph = OnnxGraph(perturbed("fcos-compact"), mean=MEAN, std=STD)
    images = smooth_image(64, 64)
    other = images.clone()
    other[..., 50:, :] = 7
    with torch.no_grad():
        first, second = (graph(pixels, torch.tensor([50, 64])) for pixels in (images, other))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, second, strict=True))
