"""A model to predict with, from whatever holds one.

In: a run's folder, a checkpoint, or weights that `mixpl weights` exported (torch, safetensors, Hugging Face, ONNX).
Out: an `OpenedModel`: something that predicts, its card, and a name for messages. Guaranteed: what a location is
shows in what lies there; nothing that a pickle does is run; what holds no model of ours is an error that says what
does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobs.inference.model_card import CARD, ModelCard, card_of
from jobs.inference.predictions import Predictor
from jobs.inference.trained import Weights, open_trained
from jobs.recipes.model_errors import answer_model_errors
from model.detectors.build import build_detector
from model.errors import TorchFileError
from model.weights.state_file import StateFile, read_state_file
from storage.errors import StoreError
from storage.regular import open_regular

CHECKPOINTS = "checkpoints"
"""Name of the folder in which a run keeps its checkpoints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedModel:
    """A model that predicts, and what is known of it."""

    predictor: Predictor
    card: ModelCard
    location: str


def open_model(location: str, *, weights: Weights, device: torch.device) -> OpenedModel:
    """Return the model at a location; `weights` says whose, where both are there.

    Raises StoreError where there is no model, or a damaged one.
    """
    path = Path(location)
    if path.is_dir() or (path.suffix == ".pt" and path.parent.name == CHECKPOINTS):
        trained = open_trained(location, weights=weights, device=device)
        return OpenedModel(predictor=trained.detector, card=card_of(trained), location=location)
    return _from_state_file(path, device)


def _from_state_file(path: Path, device: torch.device) -> OpenedModel:
    content = read_weights(path)
    if content.card is None:
        raise StoreError(
            f"expected weights that `mixpl weights` exported, got a state dict of another program, which does not "
            f"say of which detector and classes it is: {path}; to start a training from it pass its path as "
            "--model.weights"
        )
    card = CARD.parse(content.card.encode(), where=str(path))
    with answer_model_errors():
        detector: Any = build_detector(**card.model, num_classes=len(card.classes))  # type: ignore[arg-type]
    try:
        detector.network.load_state_dict(content.state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(
            f"expected weights of {card.model['name']}, as the file itself says, got others ({reason}): {path}; "
            "export them again with `mixpl weights`"
        ) from None
    return OpenedModel(predictor=detector.to(device).eval(), card=card, location=str(path))


def read_weights(path: Path) -> StateFile:
    """Return the weights in a file. Raises StoreError when it cannot be read as such."""
    try:
        with open_regular(path) as file:
            return read_state_file(file, path)
    except TorchFileError as error:
        raise StoreError(
            f"expected a run, a checkpoint or exported weights, got a file that cannot be read as any of them "
            f"({error}): {path}; name the folder of a run, or a file that `mixpl weights` wrote"
        ) from error
