"""Settings that a recipe chooses, each with its reason, under those that a user gave.

In: what a command line asks for, and choices one after another. Out: the value that holds, which the next choices
may go by; at the end the configuration and the list of choices. Guaranteed: what was given is never changed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from jobs.recipes.asked import Asked
from jobs.recipes.train_config import TrainConfig

Value = TypeVar("Value")
GIVEN = "given on the command line"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One setting, its value and the reason."""

    key: str
    value: Any
    because: str


class Choices:
    """The choices of a recipe, in order."""

    def __init__(self, asked: Asked) -> None:
        """Begin with none."""
        self._asked = asked
        self.made: list[Choice] = []

    def choose(self, key: str, value: Value, because: str) -> Value:
        """Return the value of a setting: the one given for it, or else this one."""
        if key in self._asked.options:
            value, because = self.given(key), GIVEN
        self.made.append(Choice(key=key, value=value, because=because))
        return value

    def value(self, key: str) -> Any:
        """Return the value that holds for a setting: the one chosen, or else what was asked for."""
        chosen = [choice.value for choice in self.made if choice.key == key]
        return chosen[-1] if chosen else self.given(key)

    def given(self, key: str) -> Any:
        """Return the value that the command line has for a setting, given or not."""
        value: Any = self._asked.config
        for name in key.split("."):
            value = getattr(value, name)
        return value

    def config(self) -> TrainConfig:
        """Return what was asked for with all choices in it."""
        sections: dict[str, dict[str, Any]] = {}
        for choice in self.made:
            section, _, field = choice.key.rpartition(".")
            sections.setdefault(section, {})[field] = choice.value
        config = dataclasses.replace(self._asked.config, **sections.pop("", {}))
        parts = {
            name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()
        }
        return dataclasses.replace(config, **parts)
