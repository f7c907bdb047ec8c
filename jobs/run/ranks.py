"""The processes that train one model together: who they are, and how they agree.

In: the variables that torchrun sets (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`). Out: `Ranks`, through
which values pass between them. Guarantees: where the work of one rank fails, all raise, it with its own error and
the others with its number; a rank that is silent for too long, or gone, is an error on the others and never a wait
without end (inside NCCL it is torch's watchdog that ends a process after that time, with its own words). A
process that was not started by torchrun is alone: it joins no group, and nothing here costs it anything.

Every method must be called by all ranks in the same order. So nothing that only one of them knows may decide
whether it is called.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from storage.errors import ConfigError, RunStoppedError, came_from_outside

T = TypeVar("T")


class RankLostError(RunStoppedError):
    """Another rank is silent or gone."""


class RankFailedError(RunStoppedError):
    """Another rank failed; what happened is said there."""

    def __init__(self, rank: int, failure: str = "") -> None:
        detail = f" ({failure})" if failure else ""
        super().__init__(f"rank {rank} failed, see its output{detail}; this rank stops with it")


class Ranks:
    """The processes of a run, as one of them sees them."""

    def __init__(self, *, rank: int = 0, world_size: int = 1, timeout: float = 0.0) -> None:
        """`timeout`: seconds after which the others give up on a rank that says nothing."""
        self.rank, self.world_size, self._timeout = rank, world_size, timeout

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Do the work on every rank and return all results, by rank, on all of them."""
        if self.world_size == 1:
            return [work()]
        value, error = _attempt(work)
        answers: list[Any] = [None] * self.world_size
        with self._answered():
            dist.all_gather_object(answers, (value, error and _gist(error)))
        if error is not None:
            raise error
        for rank, (_, failure) in enumerate(answers):
            if failure is not None:
                raise RankFailedError(rank, failure)
        return [value for value, _ in answers]

    def on_all(self, work: Callable[[], T]) -> T:
        """Do the work on every rank and return this one's result once all are done; it does not travel."""
        done: list[T] = []
        self.gather(lambda: done.append(work()))
        return done[0]

    def on_first(self, work: Callable[[], T]) -> T:
        """Do the work on rank 0 alone and return its result on all ranks."""
        if self.world_size == 1:
            return work()
        value, error = _attempt(work) if self.first else (None, None)
        message: list[Any] = [(value, error and _gist(error))]
        with self._answered():
            dist.broadcast_object_list(message, src=0)
        if error is not None:
            raise error
        value, failure = message[0]
        if failure is not None:
            raise RankFailedError(0, failure)
        result: T = value
        return result

    @torch.no_grad()
    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Let these tensors hold on every rank what they hold on rank 0."""
        if self.world_size == 1:
            return
        for tensor in tensors:
            flat = tensor.detach().clone(memory_format=torch.contiguous_format)
            with self._answered():
                dist.broadcast(flat, src=0)
            tensor.copy_(flat)

    def all_reduce(self, flat: Tensor) -> None:
        """Replace a tensor by its sum over the ranks, the same bits on each."""
        with self._answered():
            dist.all_reduce(flat)

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch.distributed: a lost connection, or its time limit
            raise RankLostError(
                f"another rank is gone, or was silent for {self._timeout:g} s (--timeout); see "
                f"its output, then go on with --resume ({_gist(error)})"
            ) from error


@contextlib.contextmanager
def process_group(device: torch.device, *, timeout: float) -> Iterator[Ranks]:
    """Join the processes that torchrun started, and leave them at the end; alone where there is but one.

    `timeout`: seconds that a rank may take to answer the others. An error from outside leaves as a
    RunStoppedError that names this rank; a fault of ours leaves as it is, with a note of the rank.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Ranks()
        return
    if "RANK" not in os.environ:
        raise ConfigError(
            f"expected RANK beside WORLD_SIZE {world_size}, got none; start the processes with torchrun"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ranks = Ranks(rank=int(os.environ["RANK"]), world_size=world_size, timeout=timeout)
    try:
        with ranks._answered():
            dist.init_process_group(
                "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl", timeout=timedelta(seconds=timeout)
            )
        yield ranks
    except Exception as error:
        if came_from_outside(error):
            raise RunStoppedError(f"rank {ranks.rank}: {error}") from error
        error.add_note(f"This happened on rank {ranks.rank}.")
        raise
    dist.destroy_process_group()  # after an error the end of the process does it: the others may not be there


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # raised again once the other ranks know
        return None, error


def _gist(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
