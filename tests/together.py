"""Several processes that do the same thing at the same moment, again and again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

TRIALS = [pytest.param(4, id="short"), pytest.param(40, id="soak", marks=pytest.mark.soak)]
"""How often a race is run: in `make test`, and in `make soak`."""
PATIENCE = 60.0
"""Seconds that one process waits for the others."""


def together(
    target: Callable[..., Any], *arguments: Any, trials: int, processes: int = 2
) -> list[tuple[Any, ...]]:
    """Run `target(rank, trial, *arguments)` in each process, all at once; return what they return by trial.

    An exception is returned as it is. The processes are forks, which have imported everything.
    """
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes)
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    workers = [
        context.Process(target=_work, args=(barrier, pipe[1], target, rank, trials, arguments))
        for rank, pipe in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    try:
        return list(zip(*(_answer(reader) for reader, _ in pipes), strict=True))
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _answer(reader: Connection) -> list[Any]:
    assert reader.poll(PATIENCE), "a process does not answer"
    answers: list[Any] = reader.recv()
    return answers


def _work(
    barrier: Barrier,
    writer: Connection,
    target: Callable[..., Any],
    rank: int,
    trials: int,
    arguments: tuple[Any, ...],
) -> None:
    answers = []
    for trial in range(trials):
        barrier.wait(PATIENCE)
        try:
            answers.append(target(rank, trial, *arguments))
        except Exception as error:  # what a user would see is the answer
            answers.append(error)
    writer.send(answers)
