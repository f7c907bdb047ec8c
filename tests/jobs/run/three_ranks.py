"""What `test_ranks.py` starts: three processes that meet in every way, each once, in one group.

They are forks of one that has imported everything, which is most of what starting them costs, with the variables
that torchrun would set.

Arguments: a run's config.json and a folder. Each rank writes `rank-R.json` there: what it saw and what was raised.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from jobs.recipes.choose_recipe import recipe_config
from jobs.recipes.detector_defaults import view_settings
from jobs.run import checkpoint
from jobs.run.ranks import Ranks, process_group
from jobs.training.build_trainer import build_trainer
from jobs.training.class_thresholds import ClassThresholds
from jobs.training.gradients import GradientExchange
from jobs.training.run_data import mix_settings, open_data
from jobs.training.train_step import Trainer
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.samples.stream import OrderSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels

CPU = torch.device("cpu")
WORLD = 3


def said(act: Callable[[], object]) -> str:
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def agreements(ranks: Ranks) -> dict[str, object]:
    other = torch.full((2, 3), float(ranks.rank)).T  # not contiguous
    ranks.copy_from_first([other])
    return {
        "gather": ranks.gather(lambda: ranks.rank * 10),
        "on_all": ranks.on_all(lambda: ranks.rank * 10),
        "from_first": ranks.on_first(lambda: ranks.rank + 7),
        "copied": other.tolist(),
        "failed_on_1": said(lambda: ranks.gather(lambda: 1 // (ranks.rank - 1))),
        "failed_on_first": said(lambda: ranks.on_first(lambda: 1 // ranks.rank)),
        "after_failures": ranks.gather(lambda: ranks.rank),
    }


def thresholds(ranks: Ranks) -> dict[str, object]:
    """Compute thresholds by class from the labels of all ranks, and from the same labels in one process."""
    rng = np.random.default_rng(0)
    one_a_rank = [
        Labels.of_image(np.zeros((40, 4), np.float32), rng.integers(2, size=40), rng.random(40, np.float32))
        for _ in range(ranks.world_size)
    ]
    found = []
    for who, labels in ((ranks, one_a_rank[ranks.rank]), (Ranks(), Labels.concatenate(one_a_rank))):
        made = ClassThresholds(
            "prior", score_threshold=0.5, rates_C=np.array([3.0, 9.0]), every=1, images_a_batch=1
        )
        made.observe(labels)
        made.follow(who)
        found.append(made.values_C.tolist())
    return {"thresholds": found[0], "thresholds_alone": found[1]}


def means(ranks: Ranks) -> dict[str, object]:
    """Exchange gradients of which each rank has another, and of which one parameter has none on any."""
    used = torch.nn.Parameter(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))
    unused = torch.nn.Parameter(torch.zeros(3))
    exchange = GradientExchange([used, unused], ranks)
    found = []
    for step in range(2):
        exchange.clear()
        (used * (ranks.rank + step)).sum().backward()
        asked = exchange.exchange(None, [torch.ones(1)], stop=step == 1 and ranks.rank == 2)
        _, stop = asked.read(asked.flags.tolist())
        assert used.grad is not None
        assert unused.grad is not None
        found.append([used.grad.unique().tolist(), unused.grad.tolist(), stop])
    return {"means": found}


def gated_training(ranks: Ranks, trainer: Trainer, loader: TrainLoader) -> dict[str, object]:
    """Train four steps; rank 1 has no confident pseudo label, so it runs fewer passes than the others."""
    skipped = set()
    for _ in range(4):
        batch = next(loader)
        learned = trainer.compute_gradient(batch)
        own = [parameter.grad.clone() for parameter in trainer.student.parameters()]
        agreement = trainer.gradient.exchange(None, [learned.all_values()], stop=False)
        every = ranks.gather(lambda own=own: own)
        for parameter, *grads in zip(trainer.student.parameters(), *every, strict=True):
            torch.testing.assert_close(parameter.grad, sum(grads) / ranks.world_size)
        (report,) = trainer.update_weights(batch.step, [learned], agreement).read().batches
        skipped |= report.skipped.keys()
    return {"skipped": sorted(skipped), "weights": hashes(trainer)}


def hashes(trainer: Trainer) -> list[str]:
    return [checkpoint.weights_hash(dict(who.state_dict())) for who in (trainer.student, trainer.teacher)]


def failures(ranks: Ranks, trainer: Trainer, loader: TrainLoader) -> dict[str, object]:
    """Let one rank after another fail in its half of a step; the student stays as it is."""

    def step(loader: TrainLoader) -> None:
        error, losses = None, []
        try:
            batch = next(loader)
            if ranks.rank == 1 and batch.labeled is not None:
                batch.labeled.images_BCHW.fill_(float("nan"))
            losses.append(trainer.compute_gradient(batch))
        except Exception as caught:
            error = caught
        values = [batch_losses.all_values() for batch_losses in losses]
        agreement = trainer.gradient.exchange(error, values, stop=False)
        trainer.update_weights(batch.step, losses, agreement).read()

    found = {"no_number_on_1": said(lambda: step(loader))}
    if ranks.rank == 2:
        loader.close()
    found["no_batch_on_2"] = said(lambda: step(loader))
    return {**found, "student_after": hashes(trainer)[0]}


def silence(ranks: Ranks, out: Path) -> dict[str, object]:
    """Let rank 1 keep the others waiting until they have given up; nothing can follow on this."""
    # A shorter limit than that of the group, which must bear the start of three processes on a busy machine.
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=3))
    if ranks.rank == 1:
        deadline = time.monotonic() + 40
        while not (out / "rank-0.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return {}
    began = time.monotonic()
    lost = said(lambda: ranks.gather(lambda: 0))
    return {"lost": lost, "seconds": time.monotonic() - began}


def meet(rank: int, port: int, config_path: str, out: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    config = recipe_config(config_path)
    with (
        contextlib.suppress(RuntimeError),
        process_group(CPU, timeout=60.0) as ranks,
    ):  # leaving a broken group
        report = agreements(ranks) | thresholds(ranks) | means(ranks)
        if ranks.rank == 1:
            config = replace(config, pseudo=replace(config.pseudo, score_threshold=0.999))
        other = replace(config, data=replace(config.data, labeled=str(config.data.test)))
        report["other_data"] = said(lambda: open_data(other if ranks.rank == 2 else config, ranks))
        labeled, unlabeled = Dataset.open(config.data.labeled), Dataset.open(str(config.data.unlabeled))
        trainer = build_trainer(config, labeled, CPU, ranks)
        with TrainLoader(
            LabeledData(dataset=labeled, batch_size=config.data.batch_labeled),
            UnlabeledData(dataset=unlabeled, mix=mix_settings(config)),
            view=view_settings(config),
            order=OrderSettings(rank=ranks.rank, world=ranks.world_size),
        ) as loader:
            report |= gated_training(ranks, trainer, loader)
            report["factors_from"] = loader.set_repeat_factors(
                {}, agree=lambda earliest: max(ranks.gather(lambda: earliest + ranks.rank))
            )
            report |= failures(ranks, trainer, loader)
        ranks.gather(lambda: None)  # all loaders are closed
        report |= silence(ranks, Path(out))
        Path(out, f"rank-{ranks.rank}.json").write_text(json.dumps(report))


def main(config_path: str, out: str) -> None:
    fork = multiprocessing.get_context("fork")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = [
        fork.Process(target=meet, args=(rank, store.port, config_path, out), daemon=True)
        for rank in range(WORLD)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
