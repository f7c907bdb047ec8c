"""How often a training step has the host wait for the device: once, for the teacher's labels.

On a CPU every call that would wait on a GPU is counted where it is made; on a GPU torch itself says where it waits.
The detectors' own passes are not counted: anchors are sampled and boxes suppressed inside them, by their libraries.
"""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import jobs
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.training.build_trainer import build_trainer
from jobs.training.run_data import open_data, open_loader, read_run_inputs
from jobs.training.unread_step import UnreadStep
from pipeline.loaders.batch import TrainBatch

Make = Callable[..., TrainConfig]
ROOT = Path(jobs.__file__).parents[1]
PASSES = (str(ROOT / "model" / "detectors"), str(Path(torch.autograd.__file__).parent))
"""Where the forward and backward passes of detectors are at work."""
WAITING_METHODS = (
    "item",
    "tolist",
    "cpu",
    "numpy",
    "nonzero",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
)
WAITING_OPS = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.masked_select",
    "aten.unique",
    "aten._unique2",
)


def waiting_place() -> str | None:
    """Return which function of ours is at work, as FILE:FUNCTION; None inside a detector's passes."""
    frames = traceback.extract_stack()
    if any(frame.filename.startswith(PASSES) for frame in frames):
        return None
    ours = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(ROOT) and "/tests/" not in frame.filename
    ]
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else None


class Waits(TorchDispatchMode):
    """Counts the places at which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()
        self._in_method = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        by_mask = str(func) == "aten.index.Tensor" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if not self._in_method and (by_mask or str(func).startswith(WAITING_OPS)):
            self._count()
        return func(*args, **(kwargs or {}))

    def method(self, name: str) -> Callable[..., Any]:
        """Return the tensor method of this name, counted once for all that it does inside."""
        plain = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._in_method:
                return plain(tensor, *args, **kwargs)
            if name != "numpy":  # of a tensor on a GPU it is an error, so what it is asked of has crossed
                self._count()
            self._in_method = True
            try:
                return plain(tensor, *args, **kwargs)
            finally:
                self._in_method = False

        return counted

    def _count(self) -> None:
        place = waiting_place()
        if place is not None:
            self.places[place] += 1


def take_steps(config: TrainConfig, device: torch.device, around: Callable[[], Any]) -> None:
    """Take the steps of a run as its loop does, each read while the next is under way; `around` the last ones."""
    data = open_data(config)
    trainer = build_trainer(config, data["labeled"], device, Ranks())
    with open_loader(config, data, read_run_inputs(config, data), device) as loader:
        batches = list(loader)
    before: UnreadStep | None = None

    def step(batch: TrainBatch) -> None:
        nonlocal before
        losses = trainer.compute_gradient(batch)
        if before is not None:
            before.read()
        agreement = trainer.gradient.exchange(None, [losses.all_values()], stop=False)
        before = trainer.update_weights(batch.step, [losses], agreement)

    assert batches[-1].mosaic is not None
    for batch in batches[:-1]:
        step(batch)
    with around():
        step(batches[-1])


def test_a_step_waits_for_the_teachers_labels_and_reads_its_numbers_once(
    run_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits()

    @contextmanager
    def counting() -> Iterator[None]:
        with monkeypatch.context() as patch, waits:
            for name in WAITING_METHODS:
                patch.setattr(torch.Tensor, name, waits.method(name))
            yield

    take_steps(run_config(steps=4, burn_in=0), torch.device("cpu"), counting)
    # The second waits for nothing on a GPU: the numbers of the step before were on their way before the labels.
    assert waits.places == {"tensor_labels.py:labels_of": 1, "late_numbers.py:read": 1}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_torch_sees_one_wait_a_step(run_config: Make) -> None:
    places: Counter[str] = Counter()

    def note(message: Any, *_: Any, **__: Any) -> None:
        place = waiting_place()
        if "synchronizing CUDA operation" in str(message) and place is not None:
            places[place] += 1

    @contextmanager
    def counting() -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")

    take_steps(run_config(device="cuda", steps=4, burn_in=0), torch.device("cuda"), counting)
    assert places == {"tensor_labels.py:labels_of": 1}
