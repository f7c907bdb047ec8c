"""Checkpoints that exist completely or not at all.

In: the state of a run, plain tensors and containers. Out: `step-000000600.pt` in the run's checkpoint folder,
written beside, flushed to disk and renamed, so that a kill at any moment leaves the last good one. Loaded with
`weights_only=True`: no pickle ever names a module.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch

from storage import files
from storage.errors import StoreError
from storage.regular import open_regular

PREFIX, SUFFIX = "step-", ".pt"
State = dict[str, Any]


def save(folder: Path, step: int, state: State, *, keep: int) -> Path:
    """Write the state after `step` steps; remove all but the newest `keep` checkpoints and what kills left."""
    files.make_folder(str(folder))
    files.remove_leftovers(str(folder))
    path = folder / f"{PREFIX}{step:09d}{SUFFIX}"
    with files.local_atomic(str(path)) as beside, beside.open("wb") as file:
        torch.save(state, file)  # not to the path: torch makes a RuntimeError of a full disk there
    for old in steps(folder)[:-keep]:
        (folder / f"{PREFIX}{old:09d}{SUFFIX}").unlink(missing_ok=True)
    return path


def steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in the folder, ascending."""
    numbers = (path.name[len(PREFIX) : -len(SUFFIX)] for path in folder.glob(f"{PREFIX}*{SUFFIX}"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    complete = steps(folder)
    return folder / f"{PREFIX}{complete[-1]:09d}{SUFFIX}" if complete else None


def load(path: Path) -> State:
    """Return the state on the CPU.

    Raises StoreError naming the file when it is not a checkpoint of this project or is damaged.
    """
    try:
        with open_regular(path) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise StoreError(
            f"{path}: not a readable checkpoint ({reason}); remove it to use an older one"
        ) from error
    if not isinstance(state, dict) or "student" not in state or "teacher" not in state:
        raise StoreError(
            f"{path}: expected a checkpoint written by `mixpl train`, with a student and a teacher"
        )
    return state


def weights_hash(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, shapes and bytes of a state dict: the identity of a teacher."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
