"""A trained detector from a run's folder or from one checkpoint file.

In: `runs/mixpl` (its newest checkpoint), `runs/mixpl/checkpoints/step-000001200.pt` or `runs/mixpl/best.pt`, and
whose weights: the
teacher's or the student's. Out: the detector in eval mode with its classes, its run's configuration and the hash
of its weights, which is its identity wherever labels say who wrote them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from jobs.recipes import config_file
from jobs.recipes.detector_defaults import batch_norm
from jobs.recipes.train_config import TrainConfig
from jobs.run import checkpoint
from jobs.run.run_directory import RunDirectory
from model.detector import Detector
from model.detectors.build import build_detector
from storage.errors import ConfigError, StoreError

Weights = Literal["teacher", "student"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedDetector:
    """A detector that can label, and where it comes from."""

    detector: Detector
    classes: tuple[str, ...]
    config: TrainConfig
    run: RunDirectory
    step: int
    weights: Weights
    weights_hash: str
    config_hash: str
    split_hash: str | None


def open_trained(location: str, *, weights: Weights, device: torch.device) -> TrainedDetector:
    """Load a detector from a run's folder or a checkpoint file.

    Raises StoreError when there is no such run, no complete checkpoint, or the file is damaged.
    """
    path = _checkpoint_path(Path(location))
    in_run = (path.parent / "config.json").exists()  # RUN/best.pt; others lie in RUN/checkpoints
    run = RunDirectory(str(path.parent if in_run else path.parent.parent))
    if not run.config.exists():
        raise StoreError(
            f"{run.config}: no such file; expected {location} to lie in a folder of `mixpl train`"
        )
    text = config_file.read_text(run.config)
    config = config_file.from_json(TrainConfig, text, where=str(run.config))
    state = checkpoint.load(path)
    detector = build_detector(
        config.model.name,
        num_classes=len(state["classes"]),
        backbone=config.model.backbone,
        norm=batch_norm(config),
        size=config.model.size,
    )
    try:
        detector.load_state_dict(state[weights])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(
            f"{path}: expected weights of {config.model.name}, as {run.config} says, got others ({reason}); name "
            "the run that wrote them"
        ) from None
    return TrainedDetector(
        detector=detector.to(device).eval(),
        classes=tuple(state["classes"]),
        config=config,
        run=run,
        step=int(state["step"]),
        weights=weights,
        weights_hash=checkpoint.weights_hash(state[weights]),
        config_hash=hashlib.sha256(text.encode()).hexdigest(),
        split_hash=state["split_hash"],
    )


def _checkpoint_path(location: Path) -> Path:
    if location.is_file():
        return location
    if not location.exists():
        raise StoreError(f"{location}: no such run or checkpoint; name a folder that `mixpl train` wrote")
    newest = checkpoint.latest(RunDirectory(str(location)).checkpoints)
    if newest is None:
        raise StoreError(
            f"{location}: no complete checkpoint there yet; train for longer or name another run"
        )
    return newest


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device that a configuration asks for; under torchrun each process of a machine has its own GPU.

    Raises ConfigError when cuda is asked for and not there, or has fewer GPUs than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise ConfigError(
            f"expected a GPU for each process, got {there} for at least {number + 1}; start torchrun with "
            f"--nproc-per-node {there}"
        )
    return torch.device("cuda", number)
