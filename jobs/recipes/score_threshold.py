"""The score above which a run's pseudo labels count.

In: a run's configuration, where `pseudo.score_threshold` may be None. Out: the number: the one asked for, or else
the detector's own. Guaranteed: it is taken from the whole command line and not from the recipe, so that
`--model.name` brings the threshold of the detector it names.
"""

from __future__ import annotations

import dataclasses

from jobs.recipes.train_config import TrainConfig
from model.detectors.build import spec_of


def score_threshold(config: TrainConfig) -> float:
    """Return the score threshold of a run."""
    asked = config.pseudo.score_threshold
    return spec_of(config.model.name).score_threshold if asked is None else asked


def resolve_score_threshold(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the score threshold as a number: what a run's `config.json` holds.

    A default that changes later then changes no run that was begun before.
    """
    pseudo = dataclasses.replace(config.pseudo, score_threshold=score_threshold(config))
    return dataclasses.replace(config, pseudo=pseudo)
