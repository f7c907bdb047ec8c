"""`mixpl train`: from shards to a teacher.

In: labeled and unlabeled shards and a configuration. Out: a run's folder (`jobs/run/run_directory.py`) with
checkpoints, metrics, the teacher's pseudo labels and, where test shards are given, COCO figures.

Guarantees: the arms differ in what is learned from unlabeled images and in nothing else (same weights at the
start, same labeled images in the same order, same number of steps, all scored on the teacher's weights). Killed
at any moment and resumed, a run goes on as if it had never stopped. Under torchrun many processes train one model:
each draws its own share of the images, and after every step all hold the same weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jobs.inference.trained import choose_device
from jobs.recipes.detector_defaults import resolve_detector
from jobs.recipes.schedule import resolve_schedule
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks, process_group
from jobs.run.run_directory import RunDirectory
from jobs.run.run_log import RunLog
from jobs.training.build_trainer import build_trainer
from jobs.training.check_state import require_state
from jobs.training.resume import Resumed, previous_state, state_of_rank
from jobs.training.run_data import open_data, open_loader, read_run_inputs
from jobs.training.scorings import Scorings
from jobs.training.stored_round import describe_labels, resolve_round
from jobs.training.train_loop import Training
from jobs.training.train_step import Trainer
from storage.claims import locked
from storage.dataset.dataset import Dataset


def train(config: TrainConfig) -> int:
    """Run or resume one training; return 0, or 130 when it was interrupted and can be resumed.

    Raises ConfigError for data that does not fit, an existing run without `--resume` and a run that another process
    trains; RunStoppedError for a non-finite loss, and another rank that failed or is silent.
    """
    config = resolve_schedule(resolve_detector(config))  # before config.json is written or compared
    if config.threads:
        torch.set_num_threads(config.threads)
    run = RunDirectory(config.out)
    device = choose_device(config.device)
    with process_group(device, timeout=config.timeout) as ranks, contextlib.ExitStack() as stack:
        data = open_data(config, ranks)
        config = ranks.on_first(lambda: resolve_round(config, data))
        ranks.on_first(lambda: stack.enter_context(locked(str(run.lock), command="mixpl train")))
        return _train(config, run, data, device, ranks)


def _train(
    config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset], device: torch.device, ranks: Ranks
) -> int:
    trainer, resumed, position = _begin(config, run, data, device, ranks)
    run_inputs = read_run_inputs(config, data, ranks)
    start = 0 if resumed is None else resumed.step
    with (
        ranks.on_all(lambda: open_loader(config, data, run_inputs, device, ranks, resume=position)) as loader,
        ranks.on_all(lambda: RunLog(run, config, ranks, start, _label_provenance(data))) as log,
    ):
        log.say(describe_labels(config, run_inputs.labels, run_inputs.stored_factors))
        training = Training(
            config=config,
            run=run,
            data=data,
            trainer=trainer,
            ranks=ranks,
            loader=loader,
            log=log,
            scorings=ranks.on_first(lambda: Scorings.read(run, data.get("test"), until=start)),
        )
        return training.run_steps(resumed, run_inputs.factors)


def _begin(
    config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset], device: torch.device, ranks: Ranks
) -> tuple[Trainer, Resumed | None, Mapping[str, Any] | None]:
    """Return the trainer as it is before its next step, where it was resumed, and the loader's position there.

    The checkpoint ends with this function: as large as the trainer, it must not lie beside it for a whole run.
    """
    state = ranks.on_first(lambda: _previous_state(config, run, data))
    trainer = ranks.on_all(lambda: build_trainer(config, data["labeled"], device, ranks))
    if ranks.rank:  # rank 0 draws what a process alone draws
        torch.manual_seed(int(np.random.SeedSequence([config.seed, ranks.rank]).generate_state(1)[0]))
    resumed = position = None
    if state is not None:
        ranks.on_all(lambda: require_state(state, trainer, data, run.checkpoints))
        own = ranks.on_all(lambda: state_of_rank(state, ranks))
        trainer.load_state_dict(state, own)
        resumed = Resumed(step=int(state["step"]), ranks_before=len(state["ranks"]))
        position = own["loader"]
    ranks.copy_from_first([*trainer.student.state_dict().values(), *trainer.teacher.state_dict().values()])
    return trainer, resumed, position


def _previous_state(
    config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset]
) -> dict[str, Any] | None:
    """Return where the run goes on, or None and the folder made ready for a new one."""
    state = previous_state(config, run)
    run.remove_leftovers()
    if state is None:
        run.clear()
        run.describe(dataclasses.replace(config, resume=False), _data_provenance(data))
    return state


def _data_provenance(data: Mapping[str, Dataset]) -> dict[str, Any]:
    return {
        part: {"root": d.root, "images": d.num_images, "hash": d.hash, "split": d.split}
        for part, d in data.items()
    }


def _label_provenance(data: Mapping[str, Dataset]) -> dict[str, object]:
    unlabeled = data.get("unlabeled")
    return {"dataset": unlabeled.name, "dataset_hash": unlabeled.hash} if unlabeled else {}
