"""Frozen dataclass configurations to JSON and back, strictly.

In: a `config.json` that a run wrote, or a configuration value. Out: the other one. Guaranteed: a key that the
configuration does not have, or a value of the wrong type, is an error that names the key, what was expected and
what came; a file with the keys of an older version is read as what those keys are called now.

msgspec converts the values. The walk over the keys is ours: msgspec refuses unknown keys of its own `Struct` only,
not of a dataclass, knows no nearest key, and its messages hold neither the value nor the choices of a `Literal`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from jobs.recipes.model_errors import answer_model_errors
from storage import files
from storage.errors import ConfigError, InputError
from storage.regular import NotRegularError

Config = TypeVar("Config")

RENAMED = {
    "silence": "timeout",
    "data.smallest": "data.min_side",
    "data.threads": "data.decode_threads",
    "data.window": "data.shuffle_window",
}
"""Keys of older files, and what they are called now."""


def read_text(path: Path) -> str:
    """Return the text of a run's `config.json`. Raises ConfigError where no such file is there."""
    try:  # what is no text is no JSON either
        return files.read_bytes(str(path)).decode("utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError, NotRegularError) as error:
        raise ConfigError(
            f"expected a run's config.json, got {(error.strerror or 'none').lower()}: {path}; a run keeps its own "
            "in RUN/config.json"
        ) from None


def to_json(config: Any) -> str:
    """Return the configuration as JSON text, nested as its dataclasses are."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(kind: type[Config], text: str, *, where: str) -> Config:
    """Return the configuration of type `kind` that `text` describes; missing keys take their defaults.

    Raises ConfigError naming the key and `where` it stands: unknown key, wrong type, value out of range, no JSON.
    """
    try:
        values = json.loads(text)  # not msgspec's: `--optim.clip inf` is written as Infinity
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: expected JSON, got {error}; repair the file or name a recipe") from None
    try:
        with answer_model_errors():
            return _dataclass(kind, values, prefix="")
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None


def flatten(config: Any) -> dict[str, Any]:
    """Return the configuration as one level, keys joined by dots: `optim.lr`."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[field.name] = value
    return flat


def _dataclass(kind: type[Config], values: Any, *, prefix: str) -> Config:
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the file'} must be an object, got {values!r}")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for old, value in values.items():
        name = f"{prefix}{old}"
        key = RENAMED.get(name, name).removeprefix(prefix)
        if key not in hints:
            raise ConfigError(f"unknown key '{prefix}{key}'{_nearest(key, list(hints), prefix)}")
        arguments[key] = _value(hints[key], value, f"{prefix}{key}")
    return kind(**arguments)


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast("type[Any]", hint), value, prefix=f"{name}.")
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise ConfigError(f"'{name}' must be {_expected(hint)}, got {value!r}") from None


def _expected(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _nearest(key: str, names: Sequence[str], prefix: str) -> str:
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{prefix}{close[0]}'?"
    return f"; valid keys: {', '.join(prefix + name for name in names)}"
