"""A model to predict with, from whatever holds one.

In: a run's folder, a checkpoint, or weights that `mixpl weights` exported (torch, safetensors, Hugging Face, ONNX).
Out: an `OpenedModel`: something that predicts, its card, and a name for messages. Guaranteed: what a location is
shows in what lies there; nothing that a pickle does is run; what holds no model of ours is an error that says what
does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from jobs.inference.model_card import CARD, ModelCard, card_of
from jobs.inference.predictions import Predictor
from jobs.inference.trained import Weights, open_trained
from jobs.recipes.model_errors import answer_model_errors
from model.detectors.build import build_detector
from model.errors import TorchFileError
from model.weights.huggingface_folder import folder_card, folder_state, is_library_folder
from model.weights.onnx_detector import OnnxDetector
from model.weights.state_file import State, StateFile, read_state_file
from storage.errors import StoreError
from storage.regular import open_regular, require_regular

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
    if not path.exists():
        raise StoreError(
            f"expected a run's folder, a checkpoint, or weights that `mixpl weights` exported, got a name where "
            f"nothing is: {location}"
        )
    if holds_run(path):
        trained = open_trained(location, weights=weights, device=device)
        return OpenedModel(predictor=trained.detector, card=card_of(trained), location=location)
    if path.is_dir():
        return _from_folder(path, device)
    if path.suffix == ".onnx":
        return _from_onnx(path)
    return _from_state_file(path, device)


def holds_run(path: Path) -> bool:
    """Return whether this is a run's folder, by its looks, or one of its checkpoints."""
    if path.is_dir():
        return not is_library_folder(path)
    return path.suffix == ".pt" and path.parent.name == CHECKPOINTS


def read_exported(path: Path) -> tuple[State, ModelCard] | None:
    """Return the weights in a file and their card; None where it is none of ours, or damaged."""
    if path.is_dir():
        if folder_text(path) is None:
            return None
        opened = _from_folder(path, torch.device("cpu"))
        return opened.predictor.network.state_dict(), opened.card  # type: ignore[attr-defined]
    try:
        content = read_weights(path)
    except StoreError:
        return None
    return None if content.card is None else (content.state, _card(content.card, path))


def folder_text(path: Path) -> str | None:
    """Return the text of a card in a folder of Hugging Face's library; None where there is none."""
    try:
        return folder_card(path)
    except TorchFileError:
        return None  # of a run, whose own reader says what is wrong


def _from_onnx(path: Path) -> OpenedModel:
    require_regular(path)
    with answer_model_errors():
        try:
            graph = OnnxDetector(path)
        except TorchFileError as error:
            raise StoreError(
                f"expected an ONNX graph that `mixpl weights` exported, got another file ({error}): {path}; "
                "export it again"
            ) from error
    card = _card(graph.card, path)
    # the graph normalises
    view = {**card.view, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return OpenedModel(predictor=graph, card=replace(card, view=view), location=str(path))


def _card(text: str | None, path: Path) -> ModelCard:
    """Return the card in a file. Raises StoreError for a file of another program."""
    if text is None:
        raise StoreError(
            f"expected weights that `mixpl weights` exported, got those of another program, which do not say of "
            f"which detector and classes they are: {path}; to start a training from a state dict pass its path as "
            "--model.weights"
        )
    return CARD.parse(text.encode(), where=str(path))


def _from_state_file(path: Path, device: torch.device) -> OpenedModel:
    content = read_weights(path)
    card = _card(content.card, path)
    return _opened(_build(card), content.state, card, path, device)


def _from_folder(path: Path, device: torch.device) -> OpenedModel:
    card = _card(folder_text(path), path)
    detector = _build(card)
    with answer_model_errors():
        try:
            state = folder_state(path, detector)
        except TorchFileError as error:
            raise StoreError(
                f"expected a folder that `mixpl weights` exported, got one that cannot be read ({error}): {path}; "
                "export it again"
            ) from error
    return _opened(detector, state, card, path, device)


def _build(card: ModelCard) -> Any:
    with answer_model_errors():
        return build_detector(**card.model, num_classes=len(card.classes))  # type: ignore[arg-type]


def _opened(detector: Any, state: State, card: ModelCard, path: Path, device: torch.device) -> OpenedModel:
    try:
        detector.network.load_state_dict(state)
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
