"""A run of transformers' RT-DETRv2 that started from a folder of weights, out again as a folder of that library."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.ops import box_convert, clip_boxes_to_image

from jobs.cli import run
from jobs.inference.open_model import open_model
from jobs.recipes.train_config import ModelConfig, TrainConfig
from jobs.train import train
from model.detectors.build import build_detector

hf = pytest.importorskip("transformers", reason="transformers is not installed (mixpl[detr])")


@pytest.fixture(scope="module")
def started(
    drawn: Path, tmp_path_factory: pytest.TempPathFactory, short_run: Callable[[Path, Path], TrainConfig]
) -> Path:
    """Folder of a run of one supervised step from a folder's weights, whose batch-norm therefore stays frozen."""
    folder = tmp_path_factory.mktemp("started")
    network: Any = build_detector("rtdetr-v2", num_classes=6, size="compact", norm="frozen", seed=0).network
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # scores above the least one that counts, and no ties
        for name, parameter in network.named_parameters():
            if "class_embed" in name or "enc_score_head" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    network.save_pretrained(folder / "published")
    config = short_run(drawn, folder / "run")
    assert (
        train(
            replace(
                config,
                arm="supervised",
                steps=1,
                model=ModelConfig(name="rtdetr-v2", weights=f"{folder}/published", size="compact"),
                data=replace(config.data, unlabeled=None),
                view=replace(config.view, short_range=(96, 96), long_max=96, test_short=96, test_long_max=96),
            )
        )
        == 0
    )
    return folder / "run"


@pytest.fixture(scope="module")
def exported(started: Path) -> Path:
    out = started.parent / "exported"
    assert run(["weights", str(started), "--format", "huggingface", "--out", str(out)]) == 0
    return out


def test_what_started_from_weights_is_opened_with_its_frozen_norm(started: Path, exported: Path) -> None:
    assert json.loads((started / "config.json").read_text())["model"]["norm"] == "frozen"
    for location in (started, exported):
        opened = open_model(str(location), weights="teacher", device=torch.device("cpu"))
        assert opened.card.model["norm"] == "frozen"
        norms = {type(module).__name__ for module in opened.predictor.modules()}  # type: ignore[attr-defined]
        assert "BatchNorm2d" in norms  # of the encoder
        backbone = opened.predictor.network.model.backbone  # type: ignore[attr-defined]
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())


def test_a_run_of_before_the_norm_stood_in_its_configuration_is_opened(started: Path) -> None:
    text = (started / "config.json").read_text()
    old = json.loads(text)
    old["model"]["norm"] = None
    (started / "config.json").write_text(json.dumps(old))
    opened = open_model(str(started), weights="teacher", device=torch.device("cpu"))
    (started / "config.json").write_text(text)
    assert opened.card.model["norm"] == "frozen"


def test_the_librarys_own_reader_predicts_what_the_run_predicts(started: Path, exported: Path) -> None:
    opened = open_model(str(started), weights="teacher", device=torch.device("cpu"))
    network = hf.AutoModelForObjectDetection.from_pretrained(exported, use_safetensors=True).eval()
    assert network.config.id2label == dict(enumerate(opened.card.classes))
    pixels = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    (ours,) = opened.predictor.predict(pixels, [(96, 128)])
    with torch.no_grad():
        outputs = network(pixel_values=pixels)
    corners_Q4 = box_convert(outputs.pred_boxes[0], "cxcywh", "xyxy") * torch.tensor([128, 96, 128, 96])
    boxes_Q4 = clip_boxes_to_image(corners_Q4, (96, 128))
    scores_QK = outputs.logits[0].sigmoid()
    assert len(ours) > 20
    torch.testing.assert_close(ours.scores_N, scores_QK.flatten().sort(descending=True).values[: len(ours)])
    for box_4, score, category in zip(ours.boxes_N4, ours.scores_N, ours.categories_N, strict=True):
        apart_Q = (boxes_Q4 - box_4).abs().amax(1) + (scores_QK[:, category] - score).abs()
        assert apart_Q.min() < 1e-3
