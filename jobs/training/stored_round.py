"""Which stored round a training run learns from, and how often its images are repeated.

In: a run's configuration and its data sets. Out: the configuration with the round's own folder in it, so that a
resumed or repeated run finds the same one though newer ones were labeled since; its labels for the loader; the
repeat factors of its images by the rule of `jobs/training/resampling.py`, over the round's pseudo labels alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from analysis.frequencies import factors_by_key, repeat_factors
from jobs.recipes.train_config import TrainConfig
from pipeline.loaders.stored_labels import StoredLabels
from storage.database.connect import connect
from storage.database.find_round import find_round
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, InputError
from storage.rounds.round import Round, is_round, list_rounds, open_round


def resolve_round(config: TrainConfig, data: Mapping[str, Dataset]) -> TrainConfig:
    """Return the configuration with `labels.round` being one round's folder.

    Raises ConfigError when a folder of rounds holds no complete one of the unlabeled images.
    """
    if "unlabeled" not in data or config.labels.round is None:
        return config
    round_ = _choose(config.labels.round, data["unlabeled"])
    return dataclasses.replace(config, labels=dataclasses.replace(config.labels, round=round_.path))


def open_labels(config: TrainConfig, data: Mapping[str, Dataset]) -> StoredLabels | None:
    """Return the labels of the run's round; None where the teacher labels from the start.

    Raises ConfigError for a round that does not fit, or that lacks labels, as `StoredLabels` does.
    """
    if "unlabeled" not in data or config.labels.round is None:
        return None
    round_ = open_round(config.labels.round)
    try:
        return StoredLabels(
            data["unlabeled"], round_, classes=data["labeled"].classes, partial=config.labels.partial
        )
    except InputError as error:
        raise ConfigError(f"--labels.round {error}") from error


def stored_repeat_factors(config: TrainConfig, data: Mapping[str, Dataset]) -> dict[str, float] | None:
    """Return how often each image of the round is drawn an epoch, by key; None where none is repeated."""
    if "unlabeled" not in data or config.labels.round is None or not config.labels.resample:
        return None
    round_ = open_round(config.labels.round)
    if not round_.complete:
        raise ConfigError(
            f"--labels.resample needs a complete round, got an incomplete one: {round_.path}; run `mixpl label` to "
            "its end, or leave --labels.resample out"
        )
    workspace = Workspace(datasets=(data["unlabeled"],), rounds=(round_,))
    (name,) = workspace.dataset_names().values()
    with connect(workspace) as con:
        table = repeat_factors(con, threshold=config.labels.resample, datasets=[], pseudo_datasets=[name])
    return factors_by_key(table)


def describe_labels(
    config: TrainConfig, labels: StoredLabels | None, factors: Mapping[str, float] | None
) -> str | None:
    """Return one line: which labels, of how many images, how long, what is left out and what is repeated."""
    if labels is None:
        return None
    low, high = labels.thresholds_C.min(), labels.thresholds_C.max()
    parts = [
        f"labels: {labels.name}, {len(labels.rows)} images, scores above {low:g}"
        + (f" to {high:g} by class" if high > low else "")
    ]
    if config.labels.until:
        parts.append(f"until step {config.labels.until}, then the teacher's")
    parts += [f"left out: {count} images {why}" for why, count in labels.left_out.items() if count]
    if factors is not None:
        repeated = [factor for factor in factors.values() if factor > 1]
        parts.append(f"{len(repeated)} images are repeated, at most {max(factors.values()):.2f} times")
    return "; ".join(parts)


def _choose(location: str, unlabeled: Dataset) -> Round:
    """Return the round at a location, or the latest complete one of these images in that folder."""
    if is_round(location):
        return open_round(location)
    try:
        return find_round(
            Workspace(root=location, rounds=tuple(list_rounds(location))), dataset=unlabeled.hash
        )
    except ConfigError as error:
        raise ConfigError(f"--labels.round for {unlabeled.root}: {error}") from None
