"""Whether memory stays flat: the resident size of a training run over 2,000 steps, and of the loader alone.

The run is the whole of `mixpl train` (the recipe tiny on drawn images: logs, checkpoints and all); the loader makes
batches of 640 x 480 photographs at the paper's sizes, so its tensors are of another size each time. Each runs in a
process of its own, set up as `mixpl train` sets up its own. After warm-up the size at the end stands beside that at
its beginning, both as means over a tenth of the steps.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Result, at_most
from benchmarks.photos import photo_data
from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import DataConfig, LogConfig
from jobs.shard import ShardConfig, shard
from jobs.split import SplitConfig, split
from jobs.synth import SynthConfig, synth
from jobs.train import train
from pipeline.heap import use_one_heap
from pipeline.loaders.train_loader import TrainLoader
from pipeline.timing import resident_mib

STEPS, WARM_UP = 2000, 200
NUM_PHOTOS, EVERY = 16, 10
BAR_MIB = 50


def run() -> list[Result]:
    """Return by how much each grows after its warm-up, either way."""
    return [
        _flat(f"memory of a training run, step {WARM_UP} to {STEPS}", training),
        _flat(f"memory of the loader alone, 640 x 480, batch {WARM_UP} to {STEPS}", loading),
    ]


def _flat(name: str, work: Callable[[str, int], list[float]]) -> Result:
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=spawn, initializer=use_one_heap) as pool,
    ):
        sizes = pool.submit(work, folder, STEPS).result()
    curve = np.array(sizes[WARM_UP:])
    tenth = max(1, len(curve) // 10)
    slope = 1000 * np.polyfit(np.arange(len(curve)), curve, 1)[0]
    print(
        f"{name}: {curve.min():.0f} to {curve.max():.0f} MiB, slope {slope:+.1f} MiB in 1,000 steps",
        file=sys.stderr,
    )
    growth = curve[-tenth:].mean() - curve[:tenth].mean()
    return at_most(name, abs(float(growth)), bar=BAR_MIB, unit="MiB of change")


def training(folder: str, steps: int) -> list[float]:
    """Train, and return the resident size in MiB after each step, read once in `EVERY` steps."""
    root = Path(folder)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        _draw(root)
    config = replace(
        tiny(),
        out=str(root / "run"),
        steps=steps,
        burn_in=0,
        data=DataConfig(
            labeled=str(root / "labeled"),
            unlabeled=str(root / "unlabeled"),
            batch_labeled=4,
            batch_unlabeled=4,
        ),
        log=LogConfig(metrics=EVERY, checkpoint=500, online_labels=50),
    )
    sizes: list[float] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(root / "run" / "metrics.jsonl", sizes, done), daemon=True)
    watcher.start()
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            assert train(config) == 0, "the run ends by itself"
    finally:
        done.set()
        watcher.join()
    return np.repeat(sizes, EVERY).tolist()


def loading(folder: str, steps: int) -> list[float]:
    """Take batches, and return the resident size in MiB after each."""
    with TrainLoader(*photo_data(Path(folder), NUM_PHOTOS), num_steps=steps) as loader:
        return [resident_mib() for _ in loader]


def _watch(metrics: Path, sizes: list[float], done: threading.Event) -> None:
    """Append the resident size whenever the run has written a line."""
    while not done.wait(0.01):
        lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        if lines > len(sizes):
            sizes += [resident_mib()] * (lines - len(sizes))


def _draw(root: Path) -> None:
    torch.set_num_threads(1)
    synth(SynthConfig(out=str(root / "drawn"), preset="tiny", seed=0, workers=1))
    split(SplitConfig(annotations=str(root / "drawn" / "train.json"), out=str(root / "split"), percent=5.0))
    for part in ("labeled", "unlabeled"):
        images = root / "drawn" / "images" / "train"
        shard(
            ShardConfig(
                source=str(root / "split" / f"{part}.json"),
                images=str(images),
                out=str(root / part),
                workers=1,
            )
        )
