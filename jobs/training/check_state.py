"""The state in a checkpoint, held field by field against the run that is to go on with it.

In: the state as it was read, and the trainer as it is before its first step. Out: nothing, or a StoreError that
names the first field that is missing, of another type or of another size than the run's. Guaranteed: nothing is
changed, so that what passes can be taken up whole; fields that this version does not know are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from jobs.run.checkpoint import latest, unusable
from jobs.training.train_step import Trainer
from pipeline.loaders.assembly import RESUME_VERSION
from storage.dataset.dataset import Dataset
from storage.json_head import Count


@dataclass(frozen=True, kw_only=True, slots=True)
class _Position:
    """Where one rank stands in one data set."""

    dataset: int
    batch_size: Count
    epoch: Count
    offset: Count
    left_out: list[Count]
    stops: list[list[tuple[Count, Count]]]
    repeat_factors: list[tuple[Count, Tensor]]
    refill: list[tuple[Count, list[Count]]] | None = None
    labels: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loader:
    version: int
    seed: int
    rank: Count
    world: Count
    step: Count
    labeled: _Position | None
    unlabeled: _Position | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Boxes:
    boxes: Tensor
    categories: Tensor
    scores: Tensor
    offsets: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Thresholds:
    values: Tensor
    window: _Boxes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rank:
    loader: dict[str, Any]
    cache: _Boxes | None
    thresholds: _Thresholds | None
    random: Tensor | None
    random_cuda: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Optimizer:
    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    optimizer: _Optimizer
    ranks: list[_Rank]


_MOMENTS = {"betas": ("step", "exp_avg", "exp_avg_sq"), "momentum": ("momentum_buffer",)}
"""What torch's optimisers keep of a parameter, told by a setting that only they have."""


def require_state(
    state: Mapping[str, Any], trainer: Trainer, data: Mapping[str, Dataset], folder: Path
) -> None:
    """Raise StoreError naming the first field of the newest checkpoint in `folder` that this run cannot take up."""
    try:
        typed = msgspec.convert(state, _State)
        loaders = [_loader(number, rank.loader) for number, rank in enumerate(typed.ranks)]
    except msgspec.ValidationError as error:
        raise unusable(latest(folder) or folder, str(error)) from None
    faults = (
        *_weight_faults("student", typed.student, trainer.student.state_dict()),
        *_weight_faults("teacher", typed.teacher, trainer.teacher.state_dict()),
        *_optimizer_faults(typed.optimizer, trainer.optimizer),
        *([] if typed.ranks else ["ranks: none"]),
        *(
            fault
            for number, rank in enumerate(typed.ranks)
            for fault in _rank_faults(f"ranks[{number}]", rank)
        ),
        *(fault for loader in loaders if loader for fault in _loader_faults(loader, data)),
    )
    if faults:
        raise unusable(latest(folder) or folder, faults[0])


def _loader(number: int, loader: dict[str, Any]) -> _Loader | None:
    """Return the position of a rank; None for that of another version, which the loader refuses by its number."""
    if loader.get("version") != RESUME_VERSION:
        return None
    try:
        return msgspec.convert(loader, _Loader)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} of ranks[{number}].loader") from None


def _weight_faults(name: str, got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    for key in expected.keys() ^ got.keys():
        yield f"{name}.{key}: {'missing' if key in expected else 'not of this detector'}"
    for key in expected.keys() & got.keys():
        yield from _unlike(f"{name}.{key}", got[key], expected[key].dtype, tuple(expected[key].shape))


def _unlike(name: str, got: object, dtype: torch.dtype, *shapes: tuple[int, ...]) -> Iterator[str]:
    """Yield what is wrong with a tensor that is to have this type and one of these shapes; -1 is any length."""
    if not isinstance(got, Tensor):
        yield f"{name}: {type(got).__name__} in place of a tensor"
    elif got.dtype != dtype or not any(_has_shape(got, shape) for shape in shapes):
        yield f"{name}: {tuple(got.shape)} of {got.dtype}, expected {shapes[0]} of {dtype}"


def _has_shape(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    pairs = zip(tensor.shape, shape, strict=False)
    return tensor.ndim == len(shape) and all(wanted in (-1, length) for length, wanted in pairs)


def _optimizer_faults(got: _Optimizer, optimizer: torch.optim.Optimizer) -> Iterator[str]:
    groups, written = optimizer.param_groups, got.param_groups
    if len(groups) != len(written):
        yield f"optimizer.param_groups: {len(written)} groups, expected {len(groups)}"
        return
    numbers: list[int] = []
    for index, (group, other) in enumerate(zip(groups, written, strict=True)):
        name = f"optimizer.param_groups[{index}]"
        for key in group.keys() - other.keys():
            yield f"{name}.{key}: missing"
        for key, value in group.items():
            if key != "params" and key in other and not _is_alike(other[key], value):
                yield f"{name}.{key}: {other[key]!r}, expected a value such as {value!r}"
        params = other.get("params")
        first = len(numbers)
        numbers += range(first, first + len(group["params"]))
        if params != numbers[first:]:
            yield f"{name}.params: other parameters than the {len(group['params'])} of this detector"
    parameters = [parameter for group in groups for parameter in group["params"]]
    for number, moments in got.state.items():
        if number not in range(len(parameters)):
            yield f"optimizer.state[{number}]: one of {len(parameters)} parameters expected"
        else:
            yield from _moment_faults(f"optimizer.state[{number}]", moments, parameters[number], groups[0])


def _is_alike(got: object, own: object) -> bool:
    """Return whether a setting is of the kind of the optimiser's own: any number, tuples by members."""
    if isinstance(own, tuple):
        if not (isinstance(got, tuple) and len(got) == len(own)):
            return False
        return all(_is_alike(*pair) for pair in zip(got, own, strict=True))
    if isinstance(own, bool) or own is None:
        return got is None or isinstance(got, bool)
    if isinstance(own, int | float):
        return isinstance(got, int | float) and not isinstance(got, bool) and bool(np.isfinite(got))
    return isinstance(got, type(own))


def _moment_faults(
    name: str, moments: Mapping[str, Any], parameter: Tensor, settings: Mapping[str, Any]
) -> Iterator[str]:
    for key in next((keys for setting, keys in _MOMENTS.items() if setting in settings), ()):
        if key not in moments:
            yield f"{name}.{key}: missing"
        elif key == "step":
            yield from _unlike(f"{name}.{key}", moments[key], torch.float32, ())
        elif moments[key] is not None or key != "momentum_buffer":  # None: momentum is 0
            yield from _unlike(f"{name}.{key}", moments[key], parameter.dtype, tuple(parameter.shape))


def _rank_faults(name: str, rank: _Rank) -> Iterator[str]:
    if rank.cache is not None:
        yield from _box_faults(f"{name}.cache", rank.cache)
    if rank.thresholds is not None:
        yield from _unlike(f"{name}.thresholds.values", rank.thresholds.values, torch.float64, (-1,))
        if rank.thresholds.window is not None:
            yield from _box_faults(f"{name}.thresholds.window", rank.thresholds.window)
    if rank.random is not None:
        yield from _unlike(f"{name}.random", rank.random, torch.uint8, tuple(torch.get_rng_state().shape))
    if rank.random_cuda is not None:
        yield from _unlike(f"{name}.random_cuda", rank.random_cuda, torch.uint8, (-1,))


def _box_faults(name: str, kept: _Boxes) -> Iterator[str]:
    num = len(kept.scores) if kept.scores.ndim else 0
    yield from _unlike(f"{name}.boxes", kept.boxes, torch.float32, (num, 4))
    yield from _unlike(f"{name}.categories", kept.categories, torch.int32, (num,))
    yield from _unlike(f"{name}.scores", kept.scores, torch.float32, (num,))
    yield from _unlike(f"{name}.offsets", kept.offsets, torch.int64, (-1,))
    offsets = kept.offsets.flatten().tolist()
    if not offsets or offsets != sorted(offsets) or (offsets[0], offsets[-1]) != (0, num):
        yield f"{name}.offsets: they do not divide its {num} boxes"


def _loader_faults(loader: _Loader, data: Mapping[str, Dataset]) -> Iterator[str]:
    for part, position in (("labeled", loader.labeled), ("unlabeled", loader.unlabeled)):
        if position is None or part not in data:  # the loader says which of the two was there before
            continue
        name, num_images = f"ranks[{loader.rank}].loader.{part}", data[part].num_images
        rows = {
            "left_out": position.left_out,
            "refill": [row for _, rows in position.refill or [] for row in rows],
        }
        for field, values in rows.items():
            if max(values, default=0) >= num_images:
                yield f"{name}.{field}: image {max(values)}, {data[part].root} has {num_images:,}"
        for _, factors in position.repeat_factors:
            if factors.ndim == 1 and len(factors) not in (1, num_images):
                yield (
                    f"{name}.repeat_factors: written with another dataset, of {len(factors):,} images; "
                    f"{data[part].root} has {num_images:,}"
                )
            else:
                yield from _unlike(f"{name}.repeat_factors", factors, torch.float64, (num_images,), (1,))
        if not position.repeat_factors:
            yield f"{name}.repeat_factors: none"
