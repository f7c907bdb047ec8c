"""What is frozen in Faster R-CNN, its anchors, and where its weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models._api import Weights, WeightsEnum
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FrozenBatchNorm2d

from model.detector import Detector
from model.detectors.build import build_detector
from model.detectors.spec import DetectorName, Size
from model.detectors.torchvision.faster_rcnn import FasterRCNNDetector
from model.detectors.torchvision.weights import fetch, without_zero_eps
from model.errors import WeightsError


class Nowhere(WeightsEnum):  # type: ignore[misc]
    """Weights on a port where nothing listens."""

    V1 = Weights(url="http://127.0.0.1:9/resnet50-00000000.pth", transforms=nn.Identity, meta={})


def test_stem_first_stage_and_all_norms_are_frozen(faster_rcnn: Detector) -> None:
    frozen = {name for name, parameter in faster_rcnn.named_parameters() if not parameter.requires_grad}
    body = "network.backbone.body."
    assert frozen == {
        name
        for name, _ in faster_rcnn.named_parameters()
        if name.startswith((body + "conv1.", body + "layer1."))
    }
    assert not any(isinstance(module, nn.BatchNorm2d) for module in faster_rcnn.modules())


def test_features_of_an_unpretrained_network_neither_explode_nor_vanish(faster_rcnn: Detector) -> None:
    assert isinstance(faster_rcnn, FasterRCNNDetector)
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = faster_rcnn.network.backbone.body(noise)
    assert all(0.1 < feature.std() < 1 for feature in features.values())


def test_losses_in_eval_mode_are_refused(faster_rcnn: Detector, drawn: Any) -> None:
    faster_rcnn.eval()
    with pytest.raises(ValueError, match="train mode"):
        faster_rcnn.losses(drawn.images_BCHW, drawn.sizes_B2, drawn.targets)


def test_a_file_of_a_classifier_fills_the_backbone(tmp_path: Path) -> None:
    classifier = resnet50(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "resnet50.pth")
    detector = build_detector("fasterrcnn-resnet50", num_classes=3, weights=str(tmp_path / "resnet50.pth"))
    loaded, given = detector.network.state_dict(), classifier.state_dict()
    same = [
        torch.equal(loaded[f"backbone.body.{name}"], tensor)
        for name, tensor in given.items()
        if not name.startswith("fc.") and "num_batches_tracked" not in name
    ]
    assert len(same) > 200
    assert all(same)


def test_a_file_of_a_detector_fills_all_but_a_predictor_of_other_classes(
    faster_rcnn: Detector, tmp_path: Path
) -> None:
    path = tmp_path / "detector.pth"
    torch.save(dict(faster_rcnn.network.state_dict()), path)
    given = faster_rcnn.network.state_dict()
    for num_classes, fits in ((3, True), (5, False)):
        detector = build_detector("fasterrcnn-resnet50", num_classes=num_classes, weights=str(path), seed=1)
        loaded = detector.network.state_dict()
        different = {
            name
            for name, tensor in given.items()
            if loaded[name].shape != tensor.shape or not torch.equal(loaded[name], tensor)
        }
        assert all(name.startswith("roi_heads.box_predictor.") for name in different)
        assert bool(different) is not fits


def test_weights_that_cannot_be_had_say_what_was_tried_and_what_to_do_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9/resnet50.*--model\.weights none.*FILE") as error:
        fetch(Nowhere.V1, "imagenet")
    assert str(tmp_path) in str(error.value)


def test_files_that_hold_no_weights_are_refused_by_name(tmp_path: Path) -> None:
    garbage, other = tmp_path / "garbage.pth", tmp_path / "other.pth"
    garbage.write_bytes(b"not weights")
    torch.save({"layer.weight": torch.zeros(2)}, other)
    torch.save({"conv1.weight": tmp_path}, tmp_path / "objects.pth")
    torch.save({"conv1.weight": torch.rand(1000)}, tmp_path / "flipped.pth")
    data = bytearray((tmp_path / "flipped.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.pth").write_bytes(data)
    for path, message in (
        (tmp_path / "missing.pth", "no such file"),
        (garbage, "not a file of plain tensors"),
        (other, "got no roi_heads.box_predictor"),
        (tmp_path / "objects.pth", "other things than tensors and plain values$"),
        (tmp_path / "flipped.pth", "its record .* are not those that were written"),
    ):
        with pytest.raises(WeightsError, match=message) as error:
            build_detector("fasterrcnn-resnet50", num_classes=3, weights=str(path))
        assert path.name in str(error.value)


def test_weights_made_with_eps_zero_give_the_same_norm_under_the_usual_eps() -> None:
    torch.manual_seed(0)
    state = {
        "weight": torch.rand(8),
        "bias": torch.rand(8),
        "running_mean": torch.rand(8),
        "running_var": torch.logspace(-8, 0, 8),
    }
    zero_eps, usual_eps = FrozenBatchNorm2d(8), FrozenBatchNorm2d(8)
    zero_eps.load_state_dict(state)
    overwrite_eps(nn.Sequential(zero_eps), 0.0)
    usual_eps.load_state_dict(without_zero_eps(state))
    features = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(usual_eps(features), zero_eps(features), rtol=1e-4, atol=1e-4)
    usual_eps.load_state_dict(state)
    assert not torch.allclose(usual_eps(features), zero_eps(features), rtol=1e-2)


@pytest.mark.parametrize("name", ["fasterrcnn-resnet50", "fasterrcnn-v2-resnet50", "retinanet-resnet50"])
def test_anchors_of_size_compact_are_half_as_large(name: DetectorName) -> None:
    sides = {}
    for size in get_args(Size):
        detector = build_detector(name, num_classes=3, backbone="resnet18", size=size, seed=0)
        (anchors,) = [module for module in detector.modules() if isinstance(module, AnchorGenerator)]
        sides[size] = [level[0] for level in anchors.sizes]
    assert sides["standard"] == [32, 64, 128, 256, 512]  # the library's
    assert sides["compact"] == [16, 32, 64, 128, 256]
