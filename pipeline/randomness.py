"""Where every random number of the pipeline comes from.

In: the run's seed, an epoch or step, the rank, and what the numbers are for. Out: a generator of its own for
each, so that one draw more or less in one place changes nothing in another.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for. The values are part of every seeded result: never renumber them."""

    LABELED_ORDER = 0
    UNLABELED_ORDER = 1
    LABELED_VIEW = 2
    WEAK_VIEW = 3
    STRONG_VIEW = 4
    MIX = 5


def generator(seed: int, when: int, rank: int, purpose: Purpose) -> np.random.Generator:
    """Return the generator for one purpose; `when` is the epoch of an order, the step of anything else."""
    return np.random.default_rng([seed, when, rank, purpose])
