"""DINO by name, with weights in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18

from model.detector import Detector
from model.detectors.build import build_detector, spec_of
from model.detectors.dino.build import build_network
from model.detectors.dino.network import Dimensions
from model.detectors.dino.published_names import _RENAMED, from_published, our_name
from model.errors import ModelError, WeightsError

PUBLISHED_SAMPLES = {
    "neck.extra_convs.0.gn.weight": "levels.coarser.0.1.weight",
    "decoder.layers.2.self_attn.attn.in_proj_weight": "decoder.layers.2.self_attention.in_proj_weight",
    "bbox_head.reg_branches.2.4.bias": "decoder.box_heads.2.4.bias",
    "bbox_head.reg_branches.3.4.bias": "selection.box_head.4.bias",
    "bbox_head.cls_branches.3.weight": "selection.class_head.weight",
}


def build(num_classes: int, weights: str | Path = "none", seed: int = 0) -> Detector:
    return build_detector(
        "dino-resnet50",
        num_classes=num_classes,
        weights=str(weights),
        backbone="resnet18",
        size="compact",
        seed=seed,
    )


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return build(3).network.state_dict()


def test_a_file_of_ours_gives_the_same_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "dino.pth")
    loaded = build(3, tmp_path / "dino.pth", seed=1).network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_for_other_classes_all_but_what_goes_by_the_class_is_kept(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "dino.pth")
    loaded = build(5, tmp_path / "dino.pth", seed=1).network.state_dict()
    drawn = {
        name for name, value in state.items() if not torch.equal(loaded[name].flatten(), value.flatten())
    }
    by_layer = {f"decoder.class_heads.{layer}.{kind}" for layer in range(3) for kind in ("weight", "bias")}
    by_class = {
        "selection.class_head.weight",
        "selection.class_head.bias",
        "denoising.class_embedding.weight",
    }
    assert drawn == by_layer | by_class


def test_published_names_become_ours() -> None:
    for published, ours in PUBLISHED_SAMPLES.items():
        assert our_name(published, num_layers=3) == ours
    assert len(_RENAMED) == len({pattern for pattern, _ in _RENAMED})


def test_a_file_with_the_published_names_is_loaded(state: dict[str, Tensor], tmp_path: Path) -> None:
    published = {published_name(name): value for name, value in state.items()}
    assert from_published(published).keys() == state.keys()
    torch.save(published, tmp_path / "published.pth")
    loaded = build(3, tmp_path / "published.pth", seed=1).network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_classifiers_file_gives_the_backbone_alone(state: dict[str, Tensor], tmp_path: Path) -> None:
    classifier = resnet18(weights=None).state_dict()
    torch.save(classifier, tmp_path / "resnet18.pth")
    loaded = build(3, tmp_path / "resnet18.pth").network.state_dict()
    assert torch.equal(loaded["levels.backbone.layer4.1.conv2.weight"], classifier["layer4.1.conv2.weight"])
    assert torch.equal(loaded["selection.contents.weight"], state["selection.contents.weight"])


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: expected a state dict of DINO"):
        build(3, tmp_path / "other.pth")


def test_the_standard_size_has_the_published_dimensions() -> None:
    with torch.device("meta"):
        network = build_network("resnet50", num_classes=80, dimensions=Dimensions())
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["selection.contents.weight"] == (900, 256)
    assert shapes["decoder.position_layers.0.weight"] == (256, 512)
    assert shapes["levels.projections.2.0.weight"] == (256, 2048, 1, 1)
    assert len(network.encoder.layers) == len(network.decoder.layers) == 6
    assert 47_600_000 < sum(parameter.numel() for parameter in network.parameters()) < 47_700_000


def test_without_the_extra_the_threshold_is_known_and_building_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in [name for name in sys.modules if name.startswith("model.detectors.dino.")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert spec_of("dino-resnet50").score_threshold == 0.4
    with pytest.raises(ModelError, match=r"pip install 'mixpl\[detr\]'"):
        build(3)


def published_name(ours: str) -> str:
    """Return the published name of one of ours, written out anew: what `published_names` says is not asked."""
    name = ours
    for part, published in (
        ("levels.backbone.", "backbone."),
        ("levels.projections.", "neck.convs."),
        ("levels.coarser.", "neck.extra_convs."),
        ("levels.level_embedding", "level_embed"),
        ("selection.class_head.", "bbox_head.cls_branches.3."),
        ("selection.box_head.", "bbox_head.reg_branches.3."),
        ("decoder.class_heads.", "bbox_head.cls_branches."),
        ("decoder.box_heads.", "bbox_head.reg_branches."),
        ("selection.projection.", "memory_trans_fc."),
        ("selection.norm.", "memory_trans_norm."),
        ("selection.contents.", "query_embedding."),
        ("denoising.class_embedding.", "dn_query_generator.label_embedding."),
        ("position_layers.0.", "ref_point_head.layers.0."),
        ("position_layers.2.", "ref_point_head.layers.1."),
        (".feed_forward.layers.0.", ".ffn.layers.0.0."),
        (".feed_forward.layers.2.", ".ffn.layers.1."),
        (".attention_norm.", ".norms.0."),
        (".self_norm.", ".norms.0."),
        (".cross_norm.", ".norms.1."),
        (".self_attention.", ".self_attn.attn."),
        (".cross_attention.", ".cross_attn."),
        (".attention.", ".self_attn."),
        (".feed_forward.norm.", ".norms.1." if ours.startswith("encoder") else ".norms.2."),
    ):
        name = name.replace(part, published)
    if name.startswith("neck."):
        name = (
            name.replace(".0.weight", ".conv.weight")
            .replace(".1.weight", ".gn.weight")
            .replace(".1.bias", ".gn.bias")
        )
    return name
