"""What the numbers of a configuration may be: an error names the flag, the limit and what came."""

from __future__ import annotations

from storage.errors import ConfigError


def require_at_least(least: int, config: object, *names: str, prefix: str = "") -> None:
    """Raise ConfigError when one of these settings is below the least that means anything; None is left alone."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ConfigError(f"{_flag(prefix + name)} must be at least {least}, got {value}")


def require_share(config: object, name: str, *, prefix: str = "") -> None:
    """Raise ConfigError when a setting is no share in 0 .. 1."""
    value = getattr(config, name)
    if not 0 <= value <= 1:
        raise ConfigError(f"{_flag(prefix + name)} must lie in 0 .. 1, got {value}")


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
