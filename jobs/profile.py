"""`mixpl profile`: where a pipeline's time goes, and which setting to change.

In: a recipe and its data, as `mixpl train` takes them. Out: a table of milliseconds by part, of speed, memory and,
with `--model`, of how long the training step waits; and one to three sentences of advice. Nothing is written but
the file that `--json` names.

The loader runs alone first, as fast as it can; its batches are then made again part by part
(`pipeline/inspect/breakdown.py`); with `--model` a training of the same recipe runs last, from random weights, its
data beside it as always. The first batches are left out everywhere: they fill the cache of strong views.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pyarrow as pa
import torch
import tyro

from jobs.console.print_table import print_table, rounded
from jobs.console.profile_advice import Figures, TrainedSteps, advise
from jobs.inference.trained import choose_device
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.training.build_trainer import build_trainer
from jobs.training.run_data import (
    labeled_data,
    mix_settings,
    open_data,
    open_loader,
    order_settings,
    read_run_inputs,
    unlabeled_data,
)
from jobs.training.stored_round import resolve_round
from jobs.training.train_step import Trainer
from pipeline.graphs.graph import GraphDevice
from pipeline.inspect.breakdown import BatchRecipe, Breakdown
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.train_loader import TrainLoader
from pipeline.timing import finish, resident_mib, timed
from storage import files

STEPS = 20
"""Steps that are measured when no number is given."""
KERNEL_STEPS = 3
LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileConfig:
    """What to measure."""

    run: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The run whose pipeline is measured; its steps are those measured."""
    with_model: Annotated[bool, tyro.conf.arg(name="model")] = False
    """Train the model beside the loader too, and tell how long it waits."""
    kernels: bool = False
    """Show what the decoder, each warp and each colour operation cost."""
    json: str | None = None
    """File for the figures."""

    @staticmethod
    def from_recipe(config: TrainConfig) -> ProfileConfig:
        """Return a recipe's profile: a few steps, all of them with unlabeled images."""
        model = dataclasses.replace(config.model, weights="none")  # time does not depend on them
        return ProfileConfig(run=dataclasses.replace(config, steps=STEPS, burn_in=0, model=model))


def profile(config: ProfileConfig) -> Figures:
    """Measure, print the table and the advice, and return the figures."""
    run = config.run
    if run.threads:
        torch.set_num_threads(run.threads)
    device = choose_device(run.device)
    measured = _Profile(config, device)
    figures = measured.figures()
    advice = advise(figures)
    _show(figures)
    kernels = measured.kernels() if config.kernels else {}
    if kernels:
        print_table(
            pa.table({"kernel": list(kernels), "ms an unlabeled image": rounded(kernels.values(), digits=2)}),
            "kernels, colour operations on every strong view",
        )
    for sentence in advice:
        print(sentence)
    if config.json is not None:
        document = dataclasses.asdict(figures) | {"kernels_ms": kernels, "advice": advice}
        files.write_atomic(config.json, json.dumps(document, indent=2).encode() + b"\n")
    return figures


class _Profile:
    """The measurements of one configuration."""

    def __init__(self, config: ProfileConfig, device: torch.device) -> None:
        data = config.run.data
        self._mix = mix_settings(config.run)
        self._warm_up = 1 + -(-self._mix.capacity(data.batch_unlabeled) // data.batch_unlabeled)
        """Batches until all are mixed."""
        self._config, self._device = config, device
        batches = dataclasses.replace(config.run.optim, accumulate=1)  # what is measured is a batch
        self._run = dataclasses.replace(config.run, steps=self._warm_up + config.run.steps, optim=batches)
        self._data = open_data(self._run)
        self._asked = read_run_inputs(resolve_round(self._run, self._data), self._data)
        self._recipes: list[BatchRecipe] = []

    def figures(self) -> Figures:
        data = self._run.data
        images = data.batch_labeled + (data.batch_unlabeled if "unlabeled" in self._data else 0)
        seconds, cpu_seconds, read_seconds, resident = self._loader_alone()
        parts = {"read": read_seconds} | self._parts()
        return Figures(
            parts_ms={name: 1e3 * value for name, value in parts.items()},
            batch_ms=1e3 * seconds,
            images_a_batch=images,
            cpu_ms_an_image=1e3 * cpu_seconds / images,
            resident_mib=resident,
            device_mib=_device_mib(self._device),
            threads=data.decode_threads,
            prefetch=data.prefetch,
            short_range=self._run.view.short_range,
            cores=len(os.sched_getaffinity(0)),
            device=self._device.type,
            trained=self._trained() if self._config.with_model else None,
        )

    def kernels(self) -> dict[str, float]:
        """Return milliseconds an unlabeled image by kernel, over a few batches."""
        if "unlabeled" not in self._data:
            return {}
        breakdown = self._breakdown()
        chosen = self._recipes[self._warm_up :][:KERNEL_STEPS]
        breakdown.kernels(chosen[0])
        images = len(chosen) * self._run.data.batch_unlabeled
        return {
            name: 1e3 * value * len(chosen) / images
            for name, value in _means([breakdown.kernels(recipe) for recipe in chosen]).items()
        }

    def _loader_alone(self) -> tuple[float, float, float, tuple[float, float]]:
        """Return wall, CPU and reading seconds a batch, and the resident size before and after."""
        reading, before = 0.0, 0.0
        began, cpu_began = 0.0, 0.0
        with self._loader() as loader:
            for batch in loader:
                self._recipes.append(BatchRecipe.from_batch(batch))
                if batch.step >= self._warm_up:
                    reading += batch.timings["read"]
                elif batch.step == self._warm_up - 1:
                    finish(self._device)
                    before, began, cpu_began = resident_mib(), time.perf_counter(), time.process_time()
            finish(self._device)
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
            after = resident_mib()
        steps = self._config.run.steps
        return seconds / steps, cpu_seconds / steps, reading / steps, (before, after)

    def _parts(self) -> dict[str, float]:
        breakdown = self._breakdown()
        measured = [breakdown.parts(recipe) for recipe in self._recipes]
        means = _means(measured[self._warm_up :])
        if self._asked.labels is not None:
            del means["weak view"]  # nobody looks at one, so the loader makes none
        return {name: max(0.0, mean) for name, mean in means.items()}

    def _trained(self) -> TrainedSteps:
        trainer = build_trainer(self._run, self._data["labeled"], self._device, Ranks())
        working, waiting, depths = 0.0, 0.0, []
        with self._loader() as loader:
            for _ in range(self._warm_up):
                _step(trainer, next(loader))
            finish(self._device)
            for _ in range(self._config.run.steps):
                depths.append(loader.waiting())
                batch = next(loader)
                waiting += batch.timings["wait"]
                working += timed(partial(_step, trainer, batch), self._device)[1]
        steps = self._config.run.steps
        return TrainedSteps(
            step_ms=1e3 * working / steps, wait_ms=1e3 * waiting / steps, depths=tuple(depths)
        )

    def _loader(self) -> TrainLoader:
        return open_loader(self._run, self._data, self._asked, self._device)

    def _breakdown(self) -> Breakdown:
        run = self._run
        return Breakdown(
            labeled_data(run, self._data, self._asked),
            unlabeled_data(run, self._data, self._asked),
            view=view_settings(run),
            order=order_settings(run),
            device=GraphDevice.from_torch(self._device, num_threads=run.data.decode_threads),
        )


def _step(trainer: Trainer, batch: TrainBatch) -> None:
    trainer.update_weights(batch.step, [trainer.compute_gradient(batch)])


def _means(measured: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}


def _device_mib(device: torch.device) -> float | None:
    """Return what is in use of the GPU, DALI's and torch's together; None on a CPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 2**20


def _show(figures: Figures) -> None:
    parts = {name: ms for name, ms in figures.parts_ms.items() if name != "boxes"}
    parts |= {"the rest": figures.batch_ms - sum(parts.values()), "the loader alone": figures.batch_ms}
    shares = rounded((100 * ms / figures.batch_ms for ms in parts.values()), digits=0)
    print_table(
        pa.table({"part": list(parts), "ms": rounded(parts.values()), "share %": shares}),
        f"one batch of {figures.images_a_batch} images on {figures.device}, "
        f"--data.decode-threads {figures.threads}",
    )
    summary = _summary(figures)
    print_table(pa.table({"figure": list(summary), "value": list(summary.values())}))


def _summary(figures: Figures) -> dict[str, str]:
    rows = {
        "images / s": f"{1e3 * figures.images_a_batch / figures.batch_ms:.1f}",
        "CPU ms an image": f"{figures.cpu_ms_an_image:.1f}",
        "memory, first and last, MiB": "{:.0f} {:.0f}".format(*figures.resident_mib),
    }
    if "boxes" in figures.parts_ms:
        rows["boxes, in the step, ms"] = f"{figures.parts_ms['boxes']:.2f}"
    if figures.device_mib is not None:
        rows["GPU memory in use, MiB"] = f"{figures.device_mib:.0f}"
    if (trained := figures.trained) is not None:
        rows |= {
            "training step, ms": f"{trained.step_ms:.1f}",
            "waiting for its batch, ms": f"{trained.wait_ms:.1f}",
            "the model waits": f"{100 * trained.wait_share:.1f} %",
            f"batches ready, 0 to {figures.prefetch}": _curve(trained.depths, figures.prefetch),
        }
    return rows


def _curve(depths: tuple[int, ...], highest: int) -> str:
    """Return the queue's depth over time as a line of at most 20 bars, each the mean of its steps."""
    width = min(20, len(depths))
    edges = [len(depths) * index // width for index in range(width + 1)]
    means = [sum(depths[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    return "".join(LEVELS[round(mean / highest * (len(LEVELS) - 1))] for mean in means)
