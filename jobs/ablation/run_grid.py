"""The runs of a grid, each `mixpl train` in a process of its own, several side by side.

In: the arguments of every run. Out: their folders, and which of them failed. Guaranteed: a run that has its last
score is not touched; one that was interrupted goes on where it was; Ctrl-C or SIGTERM reaches every process once,
so that each keeps a checkpoint, and the same command goes on; a run that fails does not end the others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from jobs.ablation.results import last_score, require_same_run
from jobs.console.progress import Progress
from jobs.run.interrupt import INTERRUPTED, Interrupt
from jobs.run.read_run import RunReader
from jobs.run.run_directory import RunDirectory
from storage import files

LOOK_EVERY = 0.2
"""Seconds between two looks at the processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridRun:
    """One run that is wanted."""

    name: str
    arguments: tuple[str, ...]
    """Of `mixpl train`."""
    root: str
    steps: int

    @property
    def log(self) -> str:
        """File with what the process prints."""
        return f"{self.root}.log"


@dataclass(kw_only=True, slots=True)
class _Process:
    run: GridRun
    popen: subprocess.Popen[bytes]
    log: BinaryIO
    slot: int
    step: int
    signalled: bool = field(default=False)


def run_all(runs: Sequence[GridRun], *, jobs: int) -> tuple[list[GridRun], bool]:
    """Train what is left; return the runs that failed, and whether it was interrupted.

    Raises ConfigError, before anything is trained, for a folder that holds another run than the one asked for.
    """
    for run in runs:
        require_same_run(run.root, run.arguments)
    left = deque(run for run in runs if last_score(run.root, run.steps) is None)
    steps, steps_left = (sum(run.steps for run in some) for some in (runs, left))
    work = _Work(left=left, slots=list(range(jobs)))
    with Progress("ablate", total=steps, start=steps - steps_left) as progress, Interrupt() as interrupt:
        progress.say(f"{len(runs) - len(left)} of {len(runs)} runs are done already")
        try:
            while work.left or work.processes:
                if interrupt.requested:
                    work.interrupt()
                work.start(progress)
                time.sleep(LOOK_EVERY)
                work.collect(progress)
        finally:
            work.kill()  # those that a second Ctrl-C or an error leaves
        return work.failed, interrupt.requested


@dataclass(kw_only=True, slots=True)
class _Work:
    """What is left to do, what is done at this moment, and what failed."""

    left: deque[GridRun]
    slots: list[int]
    processes: list[_Process] = field(default_factory=list)
    failed: list[GridRun] = field(default_factory=list)

    def start(self, progress: Progress) -> None:
        """Begin as many runs as have a place."""
        while self.left and self.slots:
            process = _start(self.left.popleft(), self.slots.pop(0))
            progress.say(f"{process.run.name}: begins, its words go to {process.run.log}")
            self.processes.append(process)

    def collect(self, progress: Progress) -> None:
        """Show how far the runs are, and take note of those that ended."""
        for process in list(self.processes):
            _advance(process, progress)
            if process.popen.poll() is not None:
                self.processes.remove(process)
                self.slots.append(process.slot)
                process.log.close()
                progress.say(f"{process.run.name}: {_ending(process)}")
                if process.popen.returncode not in (0, INTERRUPTED):
                    self.failed.append(process.run)

    def interrupt(self) -> None:
        """Begin nothing more, and tell every process once."""
        self.left.clear()
        for process in self.processes:
            if not process.signalled and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGINT)
                process.signalled = True

    def kill(self) -> None:
        """End the processes that are still there."""
        for process in self.processes:
            process.popen.kill()
            process.popen.wait()
            process.log.close()


def _start(run: GridRun, slot: int) -> _Process:
    files.make_folder(str(Path(run.root).parent))
    resume = ["--resume"] if RunDirectory(run.root).config.exists() else []
    log = Path(run.log).open("ab")  # noqa: SIM115  # open as long as the process
    popen = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "train", *run.arguments, *resume],
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C on a terminal reaches whole groups: each is told once, by us
        env=os.environ | _device(slot),
    )
    return _Process(run=run, popen=popen, log=log, slot=slot, step=_step(run))


def _device(slot: int) -> dict[str, str]:
    """Return the environment that gives the processes side by side a GPU each, as far as there are."""
    import torch  # here: a listing of grids does not wait for it

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices and named != "" else {}


def _advance(process: _Process, progress: Progress) -> None:
    step = _step(process.run)
    progress.advance(step - process.step)
    process.step = step


def _step(run: GridRun) -> int:
    directory = RunDirectory(run.root)
    return RunReader(run.root).look().step if directory.config.exists() and directory.metrics.exists() else 0


def _ending(process: _Process) -> str:
    match process.popen.returncode:
        case 0:
            score = last_score(process.run.root, process.run.steps)
            return "done" if score is None else f"done, AP {score.get('AP', float('nan')):.1f}"
        case code if code == INTERRUPTED:
            return "stopped; the same command goes on"
        case code:
            words = Path(process.run.log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return f"failed with {code}: {words[-1] if words else 'no word'} ({process.run.log})"
