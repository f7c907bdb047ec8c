"""`mixpl weights`: a run's detector as a file for other programs.

In: a run or a checkpoint, and a format. Out: one file, or a folder of Hugging Face's library, with the
teacher's weights (the student's with `--student`), and inside it the classes, how images are to be resized and
normalised, and where the weights come from. `torch` and `safetensors` hold a state dict that loads strictly
into the plain model of the library that the detector is of; `onnx` takes pixels and gives boxes after NMS, as
`mixpl predict` finds them. Guaranteed: the file is complete or not there; nothing is replaced.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
import tyro

from jobs.inference.model_card import ModelCard, card_of
from jobs.inference.trained import TrainedDetector, open_trained
from jobs.recipes.model_errors import answer_model_errors
from model.weights.huggingface_folder import WEIGHTS_FILE, write_huggingface
from model.weights.onnx_check import require_same_boxes
from model.weights.onnx_export import write_onnx
from model.weights.state_file import CARD_KEY, write_safetensors, write_torch
from storage.export.appearing import appearing_file, appearing_folder, require_new

Format = Literal["torch", "safetensors", "huggingface", "onnx"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """Which weights, in which format, and where to."""

    run: tyro.conf.Positional[str]
    """A run's folder (its newest checkpoint) or one checkpoint file."""
    format: Format
    """torch: a state dict for torch.load; safetensors: the same for every framework; huggingface: a
    folder for from_pretrained, of a detector of that library; onnx: a graph from pixels to
    boxes, NMS included, for onnxruntime and others; it is written if it finds what the detector finds at
    two sizes."""
    out: str
    """File to write, a folder for huggingface; it must not exist."""
    student: bool = False
    """The student's weights in place of the teacher's."""


def weights(config: WeightsConfig) -> str:
    """Write the file and return its path. Raises ConfigError when it exists or the detector has no such format."""
    require_new(config.out)
    trained = open_trained(
        config.run, weights="student" if config.student else "teacher", device=torch.device("cpu")
    )
    card = card_of(trained)
    is_folder = config.format == "huggingface"
    with answer_model_errors(), _appearing(config.out, is_folder=is_folder) as beside:
        _write(beside, trained, card, config.format)
        described = _describe(beside / WEIGHTS_FILE if is_folder else beside)
    print(f"{config.out}: {card.model['name']}, {len(card.classes)} classes, {card.source}, {config.format}")
    print(described)
    return config.out


def _appearing(out: str, *, is_folder: bool) -> AbstractContextManager[Path]:
    return appearing_folder(out, last=WEIGHTS_FILE) if is_folder else appearing_file(out)


def _write(path: Path, trained: TrainedDetector, card: ModelCard, form: Format) -> None:
    network: Any = trained.detector.network
    match form:
        case "torch":
            write_torch(path, network.state_dict(), card.to_text())
        case "safetensors":
            write_safetensors(path, network.state_dict(), card.to_text())
        case "huggingface":
            write_huggingface(path, trained.detector, classes=card.classes, card=card.to_text())
        case "onnx":
            metadata = {CARD_KEY: card.to_text(), "classes": "\n".join(card.classes)}
            images = {name: getattr(card.view_settings, name) for name in ("mean", "std", "pad_multiple")}
            write_onnx(path, trained.detector, metadata=metadata, **images)
            require_same_boxes(path, trained.detector, **images)
        case _:
            assert_never(form)


def _describe(path: Path) -> str:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{path.name}: {path.stat().st_size / 1e6:,.1f} MB, sha256 {sha256}"
