"""The weights that a run starts from, where they are those of another run, with other classes perhaps.

In: `--model.weights` and the run's own classes. Out: the detector with them in it, and a line that says which
classes keep their heads. A run's folder, a checkpoint and what `mixpl weights` exported know their classes; for all
else that the option may name `model.detectors.build` is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from jobs.inference.open_model import holds_run, read_exported
from jobs.inference.trained import open_trained
from jobs.recipes.train_config import ModelConfig
from model.detector import Detector
from model.detectors.build import build_detector, norm_of
from model.weights.class_heads import load_by_class
from storage.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StartingWeights:
    """Weights of a detector whose classes are known."""

    state: dict[str, Tensor]
    """Of its network."""
    classes: tuple[str, ...]
    name: str
    """Of the detector."""
    source: str


def build_student(model: ModelConfig, classes: Sequence[str], *, seed: int) -> tuple[Detector, str]:
    """Return the detector that a run starts with, and what is to be said of its weights; "" for nothing.

    Raises ConfigError for weights of another detector, StoreError for damaged ones, and what `build_detector` does.
    """
    start = starting_weights(model.weights)
    build = partial(
        build_detector,
        model.name,
        weights=model.weights if start is None else "none",
        backbone=model.backbone,
        norm=norm_of(model.name, weights=model.weights, norm=model.norm),
        size=model.size,
        seed=seed,
    )
    detector = build(num_classes=len(classes))
    if start is None:
        return detector, ""
    if start.name != model.name:
        raise ConfigError(
            f"expected weights of {model.name}, got those of {start.name}: {start.source}; pass --model.name "
            f"{start.name}, or other --model.weights"
        )
    loaded = load_by_class(
        detector,
        build(num_classes=len(classes) + 1),
        start.state,
        classes=classes,
        state_classes=start.classes,
        source=start.source,
    )
    drawn = f"; drawn anew: {', '.join(loaded.drawn)}" if loaded.drawn else ""
    kept = f" ({', '.join(loaded.kept)})" if loaded.drawn and loaded.kept else ""
    return (
        detector,
        f"weights: {start.source}; {len(loaded.kept)} of {len(classes)} classes keep their heads{kept}{drawn}",
    )


def starting_weights(location: str) -> StartingWeights | None:
    """Return weights that know their classes; None where there are none at this location."""
    path = Path(location)
    if not path.exists():
        return None
    if holds_run(path):
        trained = open_trained(location, weights="teacher", device=torch.device("cpu"))
        return _starting(
            trained.detector.network.state_dict(),  # type: ignore[union-attr]
            trained.classes,
            trained.config.model.name,
            f"{location}, the teacher at step {trained.step}",
        )
    exported = read_exported(path)
    if exported is None:
        return None
    state, card = exported
    return _starting(state, card.classes, str(card.model["name"]), f"{location}, {card.source}")


def _starting(state: dict[str, Tensor], classes: tuple[str, ...], name: str, source: str) -> StartingWeights:
    return StartingWeights(state=state, classes=classes, name=name, source=source)
