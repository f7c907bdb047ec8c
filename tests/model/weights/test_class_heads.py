"""A detector of other classes: heads of classes with the same name move, the others stay as they were drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.detector import Detector
from model.detectors.build import DetectorName, build_detector
from model.errors import WeightsError
from model.weights.class_heads import load_by_class

OLD, NEW = ("disk", "ring", "star"), ("cross", "star", "moon", "disk")
BACKBONE: dict[str, str | None] = {"fcos-compact": None}


def build(name: DetectorName, num_classes: int, seed: int) -> Detector:
    backbone = BACKBONE.get(name, "resnet18")
    return build_detector(name, num_classes=num_classes, seed=seed, backbone=backbone, size="compact")


def class_scores(detector: Detector, images: Tensor) -> Tensor:
    """Return the logits of classes alone, classes last, of everything that the detector looks at."""
    network: Any = detector.network
    if hasattr(network, "predictor"):
        return network(images).class_logits_BLK
    if hasattr(network, "head"):
        return network.head(list(network.backbone(images).values()))["cls_logits"][..., 1:]
    features = torch.rand(
        5, network.roi_heads.box_predictor.cls_score.in_features, generator=torch.manual_seed(3)
    )
    return network.roi_heads.box_predictor(features)[0][..., 1:]


@pytest.mark.parametrize(
    "name", ["fcos-compact", "fcos-resnet50", "retinanet-resnet50", "fasterrcnn-resnet50"]
)
def test_scores_of_classes_with_the_same_name_are_those_of_the_other_detector(name: DetectorName) -> None:
    old, new, one_more = build(name, 3, 0), build(name, 4, 1), build(name, 5, 2)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.manual_seed(0)) * 0.02)
    state = old.network.state_dict()  # type: ignore[union-attr]
    loaded = load_by_class(new, one_more, state, classes=NEW, state_classes=OLD, source="here")
    assert (loaded.kept, loaded.drawn) == (("star", "disk"), ("cross", "moon"))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        theirs, ours = (class_scores(detector.eval(), images) for detector in (old, new))
    torch.testing.assert_close(ours[..., [NEW.index("star"), NEW.index("disk")]], theirs[..., [2, 0]])
    assert not torch.isclose(ours[..., NEW.index("moon")], theirs[..., 1]).any()


def test_boxes_by_class_move_with_their_class() -> None:
    old, new, one_more = (build("fasterrcnn-resnet50", number, number) for number in (3, 4, 5))
    state: dict[str, Tensor] = old.network.state_dict()  # type: ignore[union-attr]
    drawn = new.network.roi_heads.box_predictor.bbox_pred.weight.detach().clone()  # type: ignore[union-attr]
    load_by_class(new, one_more, state, classes=NEW, state_classes=OLD, source="here")
    boxes = new.network.roi_heads.box_predictor.bbox_pred.weight.detach().view(5, 4, -1)  # type: ignore[union-attr]
    theirs = state["roi_heads.box_predictor.bbox_pred.weight"].view(4, 4, -1)
    assert torch.equal(boxes[[0, 2, 4]], theirs[[0, 3, 1]])  # the background, star, disk
    assert torch.equal(boxes[[1, 3]], drawn.view(5, 4, -1)[[1, 3]])


def test_a_state_of_another_network_is_refused_and_changes_nothing() -> None:
    new, one_more = build("fcos-resnet50", 4, 0), build("fcos-resnet50", 5, 0)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    own: dict[str, Tensor] = dict(build("fcos-resnet50", 3, 1).network.state_dict())  # type: ignore[union-attr]
    other: dict[str, Tensor] = build("retinanet-resnet50", 3, 1).network.state_dict()  # type: ignore[union-attr]
    fewer = {name: value for name, value in own.items() if name != "backbone.body.conv1.weight"}
    wider = own | {"backbone.fpn.inner_blocks.0.0.weight": torch.zeros(8, 8, 1, 1)}
    for state, message in (
        (other, r"got no head\..*: here"),
        (fewer, r"got no backbone\.body\.conv1\.weight: here"),
        (wider, r"inner_blocks\.0\.0\.weight of \(8, 8, 1, 1\) in place of"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_by_class(new, one_more, state, classes=NEW, state_classes=OLD, source="here")
    assert all(torch.equal(before[name], value) for name, value in new.state_dict().items())
