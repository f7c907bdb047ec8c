"""`mixpl weights`: a run's detector as a file for other programs.

In: a run or a checkpoint, and a format. Out: one file with the teacher's weights (the student's with `--student`),
and inside it the classes, how images are to be resized and normalised, and where the weights come from. `torch` and
`safetensors` hold a state dict that loads strictly into the plain model of the library that the detector is of.
Guaranteed: the file is complete or not there; nothing is replaced.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
import tyro

from jobs.inference.model_card import ModelCard, card_of
from jobs.inference.trained import TrainedDetector, open_trained
from model.weights.state_file import write_safetensors, write_torch
from storage import files
from storage.export.appearing import require_new

Format = Literal["torch", "safetensors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """Which weights, in which format, and where to."""

    run: tyro.conf.Positional[str]
    """A run's folder (its newest checkpoint) or one checkpoint file."""
    format: Format
    """torch: a state dict for torch.load; safetensors: the same for every framework."""
    out: str
    """File to write; it must not exist."""
    student: bool = False
    """The student's weights in place of the teacher's."""


def weights(config: WeightsConfig) -> str:
    """Write the file and return its path. Raises ConfigError when it exists or the detector has no such format."""
    require_new(config.out)
    trained = open_trained(
        config.run, weights="student" if config.student else "teacher", device=torch.device("cpu")
    )
    card = card_of(trained)
    with files.local_atomic(config.out) as beside:
        _write(beside, trained, card, config.format)
    _say(config.out, config.format, card)
    return config.out


def _write(path: Path, trained: TrainedDetector, card: ModelCard, form: Format) -> None:
    network: Any = trained.detector.network
    match form:
        case "torch":
            write_torch(path, network.state_dict(), card.to_text())
        case "safetensors":
            write_safetensors(path, network.state_dict(), card.to_text())
        case _:
            assert_never(form)


def _say(out: str, form: Format, card: ModelCard) -> None:
    with Path(out).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = Path(out).stat().st_size
    print(
        f"{out}: {card.model['name']}, {len(card.classes)} classes, {card.source}, {form}, {size / 1e6:,.1f} MB"
    )
    print(f"sha256 {sha256}")
