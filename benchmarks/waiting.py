"""How long the paper's training waits for its data on this machine: Faster R-CNN ResNet-50 at the paper's sizes.

Real loader, real trainer, as many threads for torch as there are cores and one for DALI, 1 labeled and 4 unlabeled
photographs of 640 x 480 px a step; weights from none, as time does not depend on them. The first step is left out:
it waits for the first batch ever made. As many steps as fit into the time limit: on two cores a step takes about
half a minute. On CUDA in bfloat16, with DALI on the GPU.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measure import Result, at_most, in_child
from benchmarks.photos import photo_data
from jobs.recipes.coco import coco_partial
from jobs.recipes.train_config import ModelConfig
from jobs.run.ranks import Ranks
from jobs.training.build_trainer import build_trainer
from pipeline.graphs.graph import Device, GraphDevice
from pipeline.loaders.train_loader import TrainLoader

NUM_PHOTOS, STEPS, LEAST, WITHIN = 16, 10, 3, 75
"""Photographs; steps measured at most and at least; seconds after which no further one begins."""
CUDA_STEPS = 100
NAME = "waiting for data, Faster R-CNN R50, 1 + 4 images"


def run() -> list[Result]:
    """Return the share of the steps' time, each device in a process of its own."""
    results = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        with tempfile.TemporaryDirectory() as folder:
            (waited, took), _ = in_child(train, folder, device)
        on_cuda = device == "cuda"
        name = f"{NAME}, on CUDA" if on_cuda else NAME
        results.append(at_most(name, 100 * waited / took, bar=2 if on_cuda else 5, unit="% of a step"))
    return results


def train(folder: str, device: Device) -> tuple[float, float]:
    """Return the seconds that the steps waited, and those that they took, waiting included."""
    data = photo_data(Path(folder), NUM_PHOTOS)
    torch.set_num_threads(os.cpu_count() or 1)  # as a user has it; the other benchmarks run on one
    config = replace(coco_partial(), model=ModelConfig(weights="none"))
    trainer = build_trainer(config, data[0].dataset, torch.device(device), Ranks())
    waited, began = 0.0, 0.0
    steps = 1 + (CUDA_STEPS if device == "cuda" else STEPS)
    with TrainLoader(*data, device=GraphDevice(kind=device), num_steps=steps) as loader:
        for batch in loader:
            if batch.step == 0:
                trainer.update_weights(batch.step, [trainer.compute_gradient(batch)]).read()
                began = time.perf_counter()
                continue
            waited += batch.timings["wait"]
            trainer.update_weights(batch.step, [trainer.compute_gradient(batch)]).read()
            if batch.step >= LEAST and time.perf_counter() - began > WITHIN:
                break
    return waited, time.perf_counter() - began
