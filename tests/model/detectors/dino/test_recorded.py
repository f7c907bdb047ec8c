"""The network is the published one: under the same weights it says what its implementation was recorded to say.

`record.py` made the recording and says how; the weights are drawn, not stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.detector import Target
from model.detectors.dino.assignment import Truth, collect_truth
from model.detectors.dino.build import build_network
from model.detectors.dino.denoising import Noise
from model.detectors.dino.detector import DINODetector
from model.detectors.dino.network import Dimensions
from tests.model.detectors.dino.drawn_weights import draw_weights
from tests.model.detectors.dino.record import (
    BOXES,
    CHANNELS,
    CLASSES,
    HIDDEN,
    MAX_DETECTIONS,
    NUM_CLASSES,
    NUM_DECODER_LAYERS,
    NUM_ENCODER_LAYERS,
    NUM_QUERIES,
    SEED,
    SIZES,
)

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(Path(__file__).with_name("recorded.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def dino() -> DINODetector:
    network = build_network(
        "resnet18",
        num_classes=NUM_CLASSES,
        dimensions=Dimensions(
            channels=CHANNELS,
            hidden=HIDDEN,
            num_queries=NUM_QUERIES,
            num_encoder_layers=NUM_ENCODER_LAYERS,
            num_decoder_layers=NUM_DECODER_LAYERS,
        ),
    )
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(draw_weights(shapes, SEED))
    return DINODetector(network, num_classes=NUM_CLASSES, min_score=0.0, max_detections=MAX_DETECTIONS)


@pytest.fixture(scope="module")
def truth() -> Truth:
    targets = [
        Target(
            boxes_N4=torch.tensor(boxes).reshape(-1, 4), categories_N=torch.tensor(classes, dtype=torch.int64)
        )
        for boxes, classes in zip(BOXES, CLASSES, strict=True)
    ]
    return collect_truth(targets, SIZES, torch.device("cpu"))


@pytest.fixture(scope="module")
def noise(recorded: dict[str, Tensor]) -> Noise:
    return Noise(**{name: recorded[f"noise_{name}"] for name in Noise.__dataclass_fields__})


def test_logits_and_boxes_of_every_query_of_every_layer_are_the_published_ones(
    dino: DINODetector, recorded: dict[str, Tensor], truth: Truth, noise: Noise
) -> None:
    with torch.no_grad():
        denoising = dino.train().network.denoising(truth, noise)
        output = dino.network(recorded["images"].float(), SIZES, denoising)
    parts: list[tuple[Any, str]] = [
        (torch.cat([output.denoised.logits_LBNK, output.matched.logits_LBNK], dim=2), "logits"),
        (torch.cat([output.denoised.boxes_LBN4, output.matched.boxes_LBN4], dim=2), "boxes"),
        (output.selected.logits_BQK, "selected_logits"),
        (output.selected.boxes_BQ4, "selected_boxes"),
    ]
    for ours, name in parts:
        torch.testing.assert_close(ours, recorded[name], **CLOSE)


def test_every_part_of_the_loss_is_the_published_one(
    dino: DINODetector, recorded: dict[str, Tensor], truth: Truth, noise: Noise
) -> None:
    with torch.no_grad():
        ours = dino.train().losses_under(noise, recorded["images"].float(), SIZES, truth)
    theirs = {published_part(name): recorded[name] for name in recorded if name.startswith("part_")}
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], **CLOSE)


def published_part(name: str) -> str:
    """Return our name of a part: theirs count layers from 0 and stand before the part's kind."""
    part = (
        name.removeprefix("part_").replace("_cls", "_class").replace("_bbox", "_box").replace("_iou", "_giou")
    )
    for number in range(NUM_DECODER_LAYERS):
        part = part.replace(f"d{number}.dn_", f"denoising_layer{number + 1}_")
        part = part.replace(f"d{number}.", f"layer{number + 1}_")
    return part.replace("dn_", "denoising_").replace("enc_", "encoder_")


def test_detections_are_the_published_ones(dino: DINODetector, recorded: dict[str, Tensor]) -> None:
    found = dino.predict(recorded["images"].float(), SIZES)
    for index, ours in enumerate(found):
        torch.testing.assert_close(ours.boxes_N4, recorded["detected_bboxes"][index], atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(ours.scores_N, recorded["detected_scores"][index], **CLOSE)
        assert torch.equal(ours.categories_N, recorded["detected_labels"][index])
