"""What a run takes from its detector where the configuration leaves it open: score threshold, input, batch-norm.

In: a run's configuration, where `pseudo.score_threshold`, `model.norm` and four fields of `view` may be None. Out:
the values: those asked for, or else the detector's own. Guaranteed: they are taken from the whole command line and
not from the recipe, so that `--model.name` brings the threshold and the input of the detector it names.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jobs.recipes.model_errors import answer_model_errors
from jobs.recipes.train_config import TrainConfig, ViewConfig
from model.detector import Detector, InputSpec
from model.detectors.build import input_spec, norm_of, spec_of
from model.detectors.spec import Norm
from pipeline.settings import ViewSettings
from storage.errors import ConfigError

OF_DETECTOR = tuple(field.name for field in dataclasses.fields(InputSpec))
"""The fields of `view` that are the detector's unless a run says otherwise."""


@answer_model_errors()
def resolve_detector(config: TrainConfig) -> TrainConfig:
    """Return the configuration with all that its detector decides as values: what a run's `config.json` holds.

    A default that changes later then changes no run that was begun before.
    """
    pseudo = dataclasses.replace(config.pseudo, score_threshold=score_threshold(config))
    view = ViewConfig(**_fields(view_settings(config)))
    model = dataclasses.replace(config.model, norm=batch_norm(config))
    return dataclasses.replace(config, pseudo=pseudo, view=view, model=model)


def batch_norm(config: TrainConfig) -> Norm | None:
    """Return how the detector of a run keeps its batch-norm; None where it has none to choose."""
    model = config.model
    return norm_of(model.name, weights=model.weights, norm=model.norm)


def score_threshold(config: TrainConfig) -> float:
    """Return the score threshold of a run."""
    asked = config.pseudo.score_threshold
    return spec_of(config.model.name).score_threshold if asked is None else asked


@answer_model_errors()
def view_settings(config: TrainConfig) -> ViewSettings:
    """Return how the views of a run are made."""
    values = _fields(config.view)
    if any(values[name] is None for name in OF_DETECTOR):
        model = config.model
        of_detector = input_spec(model.name, backbone=model.backbone, weights=model.weights)
        values |= {name: getattr(of_detector, name) for name in OF_DETECTOR if values[name] is None}
    return ViewSettings(**values)


def require_padding(config: TrainConfig, detector: Detector) -> None:
    """Raise ConfigError when the batches of a run have sides that its detector cannot take."""
    multiple = view_settings(config).pad_multiple
    if multiple % detector.pad_multiple:
        raise ConfigError(
            f"expected --view.pad-multiple as a multiple of {detector.pad_multiple}, which {config.model.name} "
            f"needs, got {multiple}; leave it out to pad as the detector does"
        )


def _fields(view: ViewConfig | ViewSettings) -> dict[str, Any]:
    return {field.name: getattr(view, field.name) for field in dataclasses.fields(view)}
