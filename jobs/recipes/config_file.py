"""Frozen dataclass configurations to JSON and back, strictly.

In: a `config.json` that a run wrote, or a configuration value. Out: the other one. A key that the configuration
does not have, or a value of the wrong type, is an error that names the key and the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from typing import Any, Literal, TypeVar, Union

from storage.errors import ConfigError

Config = TypeVar("Config")


def to_json(config: Any) -> str:
    """Return the configuration as JSON text, nested as its dataclasses are."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(kind: type[Config], text: str, *, where: str) -> Config:
    """Return the configuration of type `kind` that `text` describes; missing keys take their defaults.

    Raises ConfigError naming the key and `where` it stands: unknown key, wrong type, value out of range, no JSON.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: expected JSON, got {error}; repair the file or name a recipe") from error
    return _dataclass(kind, values, where=where, prefix="")


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


def _dataclass(kind: type[Config], values: Any, *, where: str, prefix: str) -> Config:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'the file'} must be an object, got {values!r}")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'{_nearest(key, names, prefix)}")
    converted = {
        key: _value(hints[key], value, where=where, name=f"{prefix}{key}") for key, value in values.items()
    }
    try:
        return kind(**converted)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _nearest(key: str, names: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{prefix}{close[0]}'?"
    return f"; valid keys: {', '.join(prefix + name for name in names)}"


def _value(hint: Any, value: Any, *, where: str, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, value, where=where, prefix=f"{name}.")
    if origin in (Union, types.UnionType):
        return _any_of(arguments, value, where=where, name=name)
    if origin is Literal:
        if value in arguments:
            return value
        raise _mismatch(where, name, f"one of {', '.join(map(repr, arguments))}", value)
    if origin is tuple:
        return _tuple(arguments, value, where=where, name=name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is type(None):
        hint = types.NoneType
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _mismatch(where, name, getattr(hint, "__name__", str(hint)), value)


def _any_of(hints: tuple[Any, ...], value: Any, *, where: str, name: str) -> Any:
    for hint in hints:
        try:
            return _value(hint, value, where=where, name=name)
        except ValueError:
            continue
    expected = " or ".join(getattr(hint, "__name__", str(hint)) for hint in hints)
    raise _mismatch(where, name, expected, value)


def _tuple(hints: tuple[Any, ...], value: Any, *, where: str, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mismatch(where, name, "a list", value)
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise _mismatch(where, name, f"a list of {len(hints)} values", value)
    pairs = zip(hints, value, strict=True)
    return tuple(_value(h, v, where=where, name=f"{name}[{i}]") for i, (h, v) in enumerate(pairs))


def _mismatch(where: str, name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where}: '{name}' must be {expected}, got {value!r}")
