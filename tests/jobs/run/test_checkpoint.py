from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.run import checkpoint
from jobs.run.seal import SEAL_BYTES
from storage.errors import StoreError


def state(step: int) -> dict[str, object]:
    weights = {"w": torch.full((3,), float(step))}
    return {"student": weights, "teacher": weights, "step": step, "classes": ["disk"], "split_hash": None}


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
    with pytest.raises(StoreError, match=r"got one that cannot \(.*\): .*step-000000005\.pt; copy it again"):
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
    with pytest.raises(StoreError, match="expected a checkpoint that can be read") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("room", [0, 1000, 300_000])
def test_a_full_disk_names_the_checkpoint_and_leaves_the_last_one(tmp_path: Path, room: int) -> None:
    checkpoint.save(tmp_path, 5, state(5), keep=2)
    large = {**state(10), "student": {"weight": torch.zeros(200_000)}}  # torch writes it in several pieces
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            checkpoint.save(tmp_path, 10, large, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "step-000000010.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005.pt"]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]


def equal(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


def test_no_flipped_bit_of_a_checkpoint_passes_and_an_earlier_one_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for step in (5, 10):
        path = checkpoint.save(tmp_path, step, state(step), keep=2)
    data = path.read_bytes()
    places = [len(data) - 1 - place for place in range(SEAL_BYTES)]
    damaged = [flipped(data, rng) for _ in range(400)]
    damaged += [data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in places]
    for broken in [*damaged, data[:-1], data[:-SEAL_BYTES], data + b"\0"]:
        path.write_bytes(broken)
        with pytest.raises(
            StoreError, match=r"not those that were written.*step-000000005\.pt is the newest"
        ) as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(data)
    assert equal(checkpoint.load(path), state(10))


def test_a_checkpoint_of_an_earlier_version_loads_and_no_flipped_bit_of_it_gives_other_weights(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(1)
    path, kept = tmp_path / "step-000000005.pt", state(5)
    kept["student"] = {f"layer{n}": torch.rand(64, 16) for n in range(8)}
    torch.save(kept, path)
    data = path.read_bytes()
    assert equal(checkpoint.load(path), kept)
    refusals = []
    for _ in range(300):
        path.write_bytes(flipped(data, rng))
        try:
            assert equal(checkpoint.load(path), kept)
        except StoreError as error:
            refusals.append(str(error))
    assert len(refusals) > 200
    assert not [text for text in refusals if "weights_only" in text or "\n" in text]


def test_objects_in_a_checkpoint_are_refused_without_the_advice_to_load_them(tmp_path: Path) -> None:
    path = tmp_path / "step-000000005.pt"
    torch.save({"student": {}, "teacher": {}, "path": tmp_path}, path)
    with pytest.raises(StoreError, match="it holds other things than tensors and plain values") as caught:
        checkpoint.load(path)
    assert "weights_only" not in str(caught.value)
