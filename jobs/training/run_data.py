"""From a run's configuration to its data and its batches.

In: a `TrainConfig`. Out: its data sets, opened and held against one another; `RunInputs`, what tables say of how
often each image is drawn and how it is labeled; and a loader of exactly the batches of that run. Training, profile
and preview come through here: what is measured or looked at is what is trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.training.resampling import labeled_repeat_factors
from jobs.training.stored_round import open_labels, stored_repeat_factors
from pipeline.graphs.graph import GraphDevice
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.stored_labels import StoredLabels
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.samples.stream import OrderSettings
from pipeline.settings import MixSettings
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError

ALONE = Ranks()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunInputs:
    """What the tables say of the images of a run."""

    factors: Mapping[str, float] | None
    """How often each labeled image is drawn an epoch, by key; None without resampling."""
    labels: StoredLabels | None
    """Labels of a stored round; None where the teacher labels from the start."""
    stored_factors: Mapping[str, float] | None
    """How often each image of that round is drawn, by key; None where none is repeated."""


def open_data(config: TrainConfig, ranks: Ranks = ALONE) -> dict[str, Dataset]:
    """Return the data sets by part: labeled, and where the run has them unlabeled and test.

    Raises ConfigError for sets without labels where they are needed, for other classes, and when the ranks do not
    see the same images.
    """
    data = ranks.on_all(lambda: _open_parts(config))
    hashes = ranks.gather(lambda: {part: dataset.hash for part, dataset in data.items()})
    for part, dataset in data.items():
        others = [rank for rank, found in enumerate(hashes) if found[part] != hashes[0][part]]
        if others:
            raise ConfigError(
                f"expected the same {part} images on every rank, got others on rank {others[0]} than on rank 0: "
                f"{dataset.root}; copy the data set of rank 0 there"
            )
    return data


def read_run_inputs(config: TrainConfig, data: Mapping[str, Dataset], ranks: Ranks = ALONE) -> RunInputs:
    """Ask the tables as they are now. Raises ConfigError for a stored round that does not fit, or lacks labels."""
    return RunInputs(
        factors=repeat_factors(config, data, ranks),
        labels=ranks.on_all(lambda: open_labels(config, data)),
        stored_factors=ranks.on_first(lambda: stored_repeat_factors(config, data)),
    )


def repeat_factors(
    config: TrainConfig, data: Mapping[str, Dataset], ranks: Ranks = ALONE
) -> dict[str, float] | None:
    """Return the repeat factor of each labeled image as the tables give it now; None without resampling."""
    return ranks.on_first(
        lambda: labeled_repeat_factors(
            data["labeled"],
            threshold=config.resampling.threshold,
            unlabeled=data.get("unlabeled"),
            rounds=config.resampling.rounds,
        )
    )


def open_loader(
    config: TrainConfig,
    data: Mapping[str, Dataset],
    run_inputs: RunInputs,
    device: torch.device,
    ranks: Ranks = ALONE,
    *,
    start_step: int = 0,
    resume: Mapping[str, Any] | None = None,
) -> TrainLoader:
    """Return the batches of a run up to `config.steps`; `start_step` and `resume` as `TrainLoader` takes them.

    What the loader calls a step is a batch, of which a step of the run has `optim.accumulate`.
    """
    return TrainLoader(
        labeled_data(config, data, run_inputs),
        unlabeled_data(config, data, run_inputs),
        view=view_settings(config),
        order=order_settings(config, ranks),
        device=GraphDevice.from_torch(device, num_threads=config.data.decode_threads),
        start_step=start_step,
        num_steps=config.steps * config.optim.accumulate,
        prefetch=config.data.prefetch,
        resume=resume,
    )


def labeled_data(
    config: TrainConfig, data: Mapping[str, Dataset], run_inputs: RunInputs
) -> LabeledData | None:
    """Return the labeled images of a run as its loader draws them; None where `data` has none, as in a preview."""
    if "labeled" not in data:
        return None
    return LabeledData(
        check_bytes=config.data.check_bytes,
        dataset=data["labeled"],
        batch_size=config.data.batch_labeled,
        repeat_factors=run_inputs.factors,
        min_side=config.data.min_side,
    )


def unlabeled_data(
    config: TrainConfig, data: Mapping[str, Dataset], run_inputs: RunInputs
) -> UnlabeledData | None:
    """Return the unlabeled images of a run as its loader draws them; None for the supervised arm."""
    if "unlabeled" not in data:
        return None
    return UnlabeledData(
        check_bytes=config.data.check_bytes,
        dataset=data["unlabeled"],
        batch_size=config.data.batch_unlabeled,
        mix=mix_settings(config),
        repeat_factors=run_inputs.stored_factors,
        start_step=config.burn_in * config.optim.accumulate,
        labels=run_inputs.labels,
        labels_until=config.labels.until * config.optim.accumulate or None,
    )


def order_settings(config: TrainConfig, ranks: Ranks = ALONE) -> OrderSettings:
    """Return what fixes the order of the samples of a run, and every draw of its views."""
    return OrderSettings(
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world_size,
        shuffle_window=config.data.shuffle_window,
        rounding=config.resampling.rounding,
    )


def counted_in_batches(config: TrainConfig) -> TrainConfig:
    """Return the run with the same batches in the same order, each of them a step of its own."""
    batches = config.optim.accumulate
    return dataclasses.replace(
        config,
        steps=config.steps * batches,
        burn_in=config.burn_in * batches,
        labels=dataclasses.replace(config.labels, until=config.labels.until * batches),
        optim=dataclasses.replace(config.optim, accumulate=1),
    )


def mix_settings(config: TrainConfig) -> MixSettings:
    """Return the mixing of an arm: plain mean teacher erases as configured and mixes nothing."""
    if config.arm == "mixpl":
        return config.mix
    return dataclasses.replace(config.mix, mixup=False, mosaic=False)


def _open_parts(config: TrainConfig) -> dict[str, Dataset]:
    locations = {"labeled": config.data.labeled, "test": config.data.test}
    if config.arm != "supervised":
        locations["unlabeled"] = config.data.unlabeled
    data = {part: Dataset.open(location) for part, location in locations.items() if location is not None}
    if not data["labeled"].labeled:
        raise ConfigError(
            f"--data.labeled {config.data.labeled}: that data set has no labels; name the labeled part"
        )
    if "test" in data and not data["test"].labeled:
        raise ConfigError(
            f"--data.test {config.data.test}: that data set has no labels to score against; "
            "name another, or leave it out"
        )
    for dataset in data.values():
        dataset.require_same_classes(data["labeled"].classes, lender=config.data.labeled)
    return data
