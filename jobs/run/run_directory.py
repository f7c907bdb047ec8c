"""The folder of one training run: what was asked, by which code, and everything that came out.

RUN/config.json       the resolved configuration, accepted by `mixpl train` in place of a recipe
RUN/origin.json       argument vector, versions, git commit, data and split hashes
RUN/metrics.jsonl     one JSON object a line
RUN/checkpoints/      step-000000600.pt, written beside and renamed
RUN/best.pt           weights of the best scoring on data.test
RUN/online_labels/    pseudo labels that training wrote, one Parquet file every n-th step
RUN/evaluations/      COCO figures as tables
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.recipes import config_file
from storage import files

PACKAGES = (
    "torch",
    "torchvision",
    "nvidia-dali-cuda130",
    "webdataset",
    "pyarrow",
    "duckdb",
    "numba",
    "numpy",
)


class RunDirectory:
    """Paths of one run, and its two files of provenance."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights of the best scoring on the test data."""
        return self.root / "best.pt"

    @property
    def online_labels(self) -> Path:
        """Folder of the pseudo labels that training wrote."""
        return self.root / "online_labels"

    @property
    def evaluations(self) -> Path:
        """Folder of the evaluation tables."""
        return self.root / "evaluations"

    @property
    def name(self) -> str:
        """The run's name: the last part of its path."""
        return self.root.resolve().name

    @property
    def lock(self) -> Path:
        """Held by the process that trains."""
        return self.root / ".lock"

    def clear(self) -> None:
        """Remove what a run that never came to a checkpoint left behind."""
        leftovers = (*self.online_labels.glob("*.parquet"), *self.evaluations.glob("*.parquet"), self.best)
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove the hidden files that killed writers left; what others write at this moment stays."""
        for folder in (self.root, self.checkpoints, self.online_labels, self.evaluations):
            files.remove_leftovers(str(folder))

    def describe(self, config: Any, data: Mapping[str, Any]) -> None:
        """Write config.json and origin.json, before the first step."""
        self.write_config(config)
        origin = {
            "arguments": sys.argv,
            "python": platform.python_version(),
            "versions": versions(),
            "git_commit": git_commit(),
            "data": dict(data),
        }
        files.write_atomic(str(self.root / "origin.json"), (json.dumps(origin, indent=2) + "\n").encode())

    def write_config(self, config: Any) -> None:
        """Write config.json."""
        files.make_folder(str(self.root))
        files.write_atomic(str(self.config), config_file.to_json(config).encode())


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    found = {}
    for package in (*PACKAGES, "mixpl"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str | None:
    """Return the commit of this code, with '+changes' where the tree differs from it; None outside git."""
    here = Path(__file__).resolve().parent.parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
