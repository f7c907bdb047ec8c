"""The recipe `own`: fine-tuning on the data that it finds.

In: what the command line says, and the data sets it names. Out: the whole configuration, and on the screen a table
of what was chosen and why. Guaranteed: the arms and the ranks of a run get the same configuration; what is given on
the command line is taken as it is.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pyarrow as pa

from jobs.console.print_table import print_table
from jobs.recipes.asked import Asked
from jobs.recipes.own.choices import Choice, Choices
from jobs.recipes.own.data_summary import DataSummary, summarise
from jobs.recipes.own.hardware import look_at_hardware
from jobs.recipes.own.rules import choose_settings
from jobs.recipes.train_config import TrainConfig
from storage import files
from storage.dataset.dataset import DATASET_FILE, Dataset

TEST_FOLDERS = ("test", "val", "valid")
"""Where labeled images to score on are looked for, beside data.labeled."""


def own() -> TrainConfig:
    """Your own data: detector, view sizes, steps and thresholds from the images and boxes that are there.

    Data: `mixpl shard` into data/labeled, data/unlabeled and, to be scored, data/test.
    Command: `mixpl train own`; `--arm supervised` for the comparison at equal steps.
    Hardware: a CPU (minutes, from 20 labeled images on) or a GPU (up to 100,000). Time and figures: EXPERIMENTS.md.
    """
    return TrainConfig(out="runs/own")


def fit_own(asked: Asked) -> TrainConfig:
    """Return the configuration for the data that the command line names, and print what was chosen.

    Raises StoreError where a data set is missing, ConfigError where the labeled one has no box.
    """
    asked = replace(asked, config=_with_test(asked))
    data = _summary(asked.config)
    choices = Choices(asked)
    choose_settings(choices, data, look_at_hardware(asked.config.device))
    if os.environ.get("RANK", "0") == "0":
        _print(data, choices.made)
    return choices.config()


def _with_test(asked: Asked) -> TrainConfig:
    """Return what is asked for, with the test images that lie beside the labeled ones."""
    config = asked.config
    if "data.test" in asked.options:
        return config
    parent = config.data.labeled.rstrip("/").rpartition("/")[0]
    beside = [files.join(parent, name) if parent else name for name in TEST_FOLDERS]
    there = [folder for folder in beside if files.exists(files.join(folder, DATASET_FILE))]
    return replace(config, data=replace(config.data, test=there[0])) if there else config


def _summary(config: TrainConfig) -> DataSummary:
    """Look at the data sets; at the unlabeled one for the supervised arm too, so that the arms are alike."""
    labeled = Dataset.open(config.data.labeled)
    unlabeled = config.data.unlabeled
    if config.arm == "supervised" and unlabeled is not None:
        unlabeled = unlabeled if files.exists(files.join(unlabeled, DATASET_FILE)) else None
    return summarise(
        labeled,
        None if unlabeled is None else Dataset.open(unlabeled),
        None if config.data.test is None else Dataset.open(config.data.test),
    )


def _print(data: DataSummary, made: list[Choice]) -> None:
    title = (
        f"own: {data.num_labeled:,} labeled images of {data.long_side} x {data.short_side} px with "
        f"{data.num_boxes:,} boxes, {data.num_unlabeled:,} unlabeled, {data.num_test:,} to test on"
    )
    columns = {
        "setting": [choice.key for choice in made],
        "value": [_text(choice.value) for choice in made],
        "because": [choice.because for choice in made],
    }
    print_table(pa.table(columns), title)


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
