from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from jobs.run import checkpoint
from storage.errors import StoreError


def state(step: int) -> dict[str, object]:
    weights = {"w": torch.full((3,), float(step))}
    return {"student": weights, "teacher": weights, "step": step}


def test_the_newest_complete_checkpoint_is_found_and_old_ones_go(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, state(step), keep=2)
    assert checkpoint.steps(tmp_path) == [10, 15]
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.load(newest)["step"] == 15


def test_a_file_that_a_kill_left_half_written_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, state(5), keep=2)
    before = set(tmp_path.iterdir())
    try:
        with checkpoint.files.local_atomic(str(tmp_path / "step-000000010.pt")) as beside:
            Path(beside).write_bytes(b"half")
            left_over = set(tmp_path.iterdir()) - before
            assert len(left_over) == 1
            assert checkpoint.steps(tmp_path) == [5]
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert checkpoint.steps(tmp_path) == [5]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, state(5), keep=2)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"step-000000005\.pt: not a readable checkpoint"):
        checkpoint.load(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(StoreError, match="expected a checkpoint written by `mixpl train`"):
        checkpoint.load(path)


def test_the_hash_of_weights_follows_every_value_and_not_the_order() -> None:
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert checkpoint.weights_hash(weights) == checkpoint.weights_hash(dict(reversed(weights.items())))
    assert checkpoint.weights_hash(weights) != checkpoint.weights_hash({**weights, "b": torch.zeros(2)})


def test_what_killed_writers_left_goes_and_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / ".step-000000005.pt.1-ab.tmp").write_bytes(b"half")
    (tmp_path / "step-best.pt").write_bytes(b"mine")
    checkpoint.save(tmp_path, 10, state(10), keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010.pt", "step-best.pt"]
    assert checkpoint.steps(tmp_path) == [10]


def test_why_a_checkpoint_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "step-000000005.pt"
    torch.save({"student": {}, "teacher": {}, "path": tmp_path}, path)  # a path is no plain value
    with pytest.raises(StoreError, match="not a readable checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_names_the_checkpoint_and_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, state(5), keep=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            checkpoint.save(tmp_path, 10, state(10), keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "step-000000010.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005.pt"]
