"""A run's folder as another process sees it: how far it is, and whether somebody still trains it.

In: the folder, of a run that works, ended or was killed. Out: `RunView`: what was asked, the lines of metrics so
far, the state. Guaranteed: nothing is written, locked or waited for; only what was appended is read again; a line
that is half written is left for the next look.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.run.run_directory import RunDirectory
from storage.errors import ConfigError

State = Literal["training", "finished", "stopped"]

LOCKS = Path("/proc/locks")
FRESH = 120.0
"""Seconds: on a file system shared with another machine, a run whose last line is younger is taken to train."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """What is known of a run at one moment."""

    name: str
    path: str
    config: Mapping[str, Any]
    """As config.json has it; empty where there is none."""
    lines: Sequence[Mapping[str, Any]]
    """Lines of metrics about training, in order."""
    scorings: Sequence[Mapping[str, Any]]
    """Lines of metrics about a data set, in order."""
    state: State

    @property
    def step(self) -> int:
        """Return the last step that a line tells of."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def steps(self) -> int | None:
        """Return how many steps were asked for; None where no config.json says."""
        steps = self.config.get("steps")
        return steps if isinstance(steps, int) else None

    def asked(self, *names: str) -> Any:
        """Return a value of the configuration, such as ("pseudo", "gate"); None where there is none."""
        value: Any = self.config
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


class RunReader:
    """Looks at a run again and again."""

    def __init__(self, path: str) -> None:
        """Raise ConfigError where no run is."""
        self._run = RunDirectory(path)
        if not self._run.config.is_file() and not self._run.metrics.is_file():
            raise ConfigError(
                f"expected the folder of a run, got one without config.json and metrics.jsonl: {path}; name what "
                "`mixpl train --out` wrote"
            )
        self._file: tuple[int, int] = (-1, 0)
        """Inode and length of what was read: a resumed run writes its lines into another file."""
        self._rows: list[dict[str, Any]] = []

    def look(self) -> RunView:
        """Return the run as it is now."""
        locked = _is_locked(self._run.lock)  # before the lines are read: what a run wrote last is then seen
        self._read_on()
        config = _json(self._run.config) or {}
        lines = [row for row in self._rows if "dataset" not in row]
        return RunView(
            name=self._run.name,
            path=str(self._run.root),
            config=config,
            lines=lines,
            scorings=[row for row in self._rows if "dataset" in row],
            state=self._state(locked, config.get("steps"), lines),
        )

    def _read_on(self) -> None:
        try:
            with self._run.metrics.open("rb") as stream:
                status = os.fstat(stream.fileno())
                inode, start = self._file
                if inode != status.st_ino or start > status.st_size:
                    self._rows, start = [], 0
                stream.seek(start)
                whole = stream.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return
        self._file = (status.st_ino, start + len(whole) + bool(whole))
        for line in whole.splitlines():
            row = _parsed(line)
            if isinstance(row.get("step"), int):
                self._rows.append(row)

    def _state(self, locked: bool, steps: object, lines: Sequence[Mapping[str, Any]]) -> State:
        if locked:
            return "training"
        if lines and lines[-1]["step"] == steps:
            return "finished"
        elsewhere = self._run.lock.exists() and not LOCKS.exists()
        try:
            age = time.time() - self._run.metrics.stat().st_mtime
        except FileNotFoundError:
            return "stopped"
        return "training" if elsewhere and age < FRESH else "stopped"


def _is_locked(path: Path) -> bool:
    """Return whether a process of this machine holds the lock of a file, without asking for it."""
    try:
        status, locks = path.stat(), LOCKS.read_text(encoding="ascii")
    except OSError:
        return False
    # by inode alone: some file systems give another device to stat than to the kernel's list
    return any("FLOCK" in line and f":{status.st_ino} " in line for line in locks.splitlines())


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
