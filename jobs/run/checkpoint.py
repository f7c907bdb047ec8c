"""Checkpoints that exist completely or not at all.

In: the state of a run, plain tensors and containers. Out: `step-000000600.pt` in the run's checkpoint folder,
written beside, flushed to disk and renamed, so that a kill at any moment leaves the last good one; and the state
again. Guaranteed: a file ends with its sha256, and one whose bytes changed is refused; those of earlier versions,
which have none, are held against the checksums of their records. No pickle ever names a module.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import torch

from jobs.run.seal import SealingFile, is_unbroken
from model.errors import TorchFileError
from model.torch_file import load_torch_file
from storage import files
from storage.errors import StoreError
from storage.json_head import Count
from storage.regular import open_regular

PREFIX, SUFFIX = "step-", ".pt"
State = dict[str, Any]
_SEALED = "sealed"
"""Key of the state that tells a file whose seal is gone from one of an earlier version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointHead:
    """What of a checkpoint is asked for by name."""

    student: dict[str, torch.Tensor]
    teacher: dict[str, torch.Tensor]
    step: Count
    classes: tuple[str, ...]
    split_hash: str | None


def save(folder: Path, step: int, state: State, *, keep: int) -> Path:
    """Write the state after `step` steps; remove all but the newest `keep` checkpoints and what kills left."""
    files.make_folder(str(folder))
    files.remove_leftovers(str(folder))
    path = folder / f"{PREFIX}{step:09d}{SUFFIX}"
    _write(path, state)
    for old in steps(folder)[:-keep]:
        (folder / f"{PREFIX}{old:09d}{SUFFIX}").unlink(missing_ok=True)
    return path


def write(path: Path, state: State) -> None:
    """Write a state to a file of its own, in place of one that lies there; remove what kills left of it."""
    files.remove_leftovers(str(path.parent), name=path.name)
    _write(path, state)


def _write(path: Path, state: State) -> None:
    with files.local_atomic(str(path)) as beside, beside.open("wb") as file:
        sealing = SealingFile(file)
        try:
            torch.save({**state, _SEALED: True}, cast("IO[bytes]", sealing))
        except RuntimeError as error:  # torch closes its file after a full disk, and fails at that
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
        sealing.seal()


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
    with open_regular(path) as file:
        unbroken = is_unbroken(file)
        if unbroken is False:
            raise _damaged(path, "its bytes are not those that were written: another sha256")
        try:
            state = load_torch_file(file)
        except TorchFileError as error:
            raise _damaged(path, str(error)) from error
    if isinstance(state, dict) and state.pop(_SEALED, False) and unbroken is None:
        raise _damaged(path, "its last bytes, with the sha256 of the others, are not those that were written")
    try:
        msgspec.convert(state, CheckpointHead)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"{path}: expected a checkpoint written by `mixpl train`, with a student and a teacher, got another "
            f"({error}); name a run of `mixpl train`"
        ) from None
    return cast("State", state)


def unusable(path: Path, fault: str) -> StoreError:
    """Return the error of a checkpoint that was read and cannot be taken up."""
    return StoreError(
        f"expected a checkpoint with the state of this run, got another ({fault}): {path}; {_remedy(path)}"
    )


def _damaged(path: Path, reason: str) -> StoreError:
    """Return the error of a checkpoint whose bytes must not be used."""
    return StoreError(
        f"expected a checkpoint that can be read, got one that cannot ({reason}): {path}; {_remedy(path)}"
    )


def _remedy(path: Path) -> str:
    """Return what to do in place of using a checkpoint."""
    steps_before = [step for step in steps(path.parent) if path.name > f"{PREFIX}{step:09d}{SUFFIX}"]
    if not steps_before:
        return "copy it again from where it is whole, or train again"
    earlier = f"{PREFIX}{steps_before[-1]:09d}{SUFFIX}"
    return f"copy it again from where it is whole, or move it away: {earlier} is the newest one then"


def weights_hash(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, shapes and bytes of a state dict: the identity of a teacher."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
