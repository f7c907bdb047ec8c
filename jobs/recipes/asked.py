"""What a command line says of a run, before a recipe that goes by it is known in full.

In: the configuration that the command line makes of a recipe's first draft, and the arguments. Out: `Asked`: the
configuration, and which of its settings were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.recipes.train_config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A configuration and the settings of it that a user gave."""

    config: TrainConfig
    options: frozenset[str]
    """Their keys, as `optim.lr`."""


def given_options(arguments: Sequence[str]) -> frozenset[str]:
    """Return the keys of the options that an argument vector names: `--data.no-check-bytes` is data.check_bytes."""
    names = (argument.split("=")[0] for argument in arguments if argument.startswith("--"))
    keys = (name.removeprefix("--").replace("-", "_") for name in names)
    return frozenset(".".join(part.removeprefix("no_") for part in key.split(".")) for key in keys)
