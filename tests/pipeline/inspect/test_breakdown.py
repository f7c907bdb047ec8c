"""The parts of a batch, measured one by one."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.graphs.graph import CPU
from pipeline.graphs.views import UnlabeledViews
from pipeline.inspect.breakdown import BatchRecipe, Breakdown
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.samples.reader import SampleReader, read_samples
from pipeline.samples.stream import OrderSettings
from pipeline.settings import COLOUR_OPS, MixSettings, ViewSettings
from pipeline.timing import timed
from storage.dataset.dataset import Dataset
from tests.pipeline.batches import open_loader

VIEW = ViewSettings(short_range=(300, 500), long_max=600)
MIX = MixSettings(mosaic_range=(200, 400))
STEPS = 6


Sets = tuple[Dataset, Dataset]


@pytest.fixture(autouse=True)
def cpu_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure CPU seconds, which other work on the machine does not lengthen; one thread makes the views here."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


@pytest.fixture
def sets(draw_set: Any) -> Sets:
    return draw_set("labeled", 6, labeled=True), draw_set("unlabeled", 12, first_id=100)


def drawn_by(sets: Sets, view: ViewSettings) -> tuple[list[BatchRecipe], Breakdown]:
    """Return what the batches of a loader were made of, and their breakdown."""
    with open_loader(*sets, view=view, mix=MIX, num_steps=STEPS) as loader:
        drawn = [BatchRecipe.from_batch(batch) for batch in loader]
    breakdown = Breakdown(
        LabeledData(dataset=sets[0]),
        UnlabeledData(dataset=sets[1], mix=MIX),
        view=view,
        order=OrderSettings(),
        device=CPU,
    )
    return drawn, breakdown


def medians(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([one[name] for one in parts])) for name in parts[0]}


def test_decoder_and_views_add_up_to_about_what_the_one_graph_takes_that_makes_them(sets: Sets) -> None:
    drawn, breakdown = drawn_by(sets, VIEW)
    reader = SampleReader(sets[1])
    graph = UnlabeledViews(VIEW, batch_size=4)
    shares = []
    for one in drawn:  # in turns, so that other work on the machine meets both
        assert one.plan is not None
        samples = read_samples(reader, np.array([reader.keys.index(key) for key in one.plan.keys]))
        run = partial(graph.run, samples.encoded, one.plan.weak, one.plan.strong)
        whole = min(timed(run, torch.device("cpu"))[1] for _ in range(2))  # as the parts are
        parts = breakdown.parts(replace(one, labeled_keys=()))  # the labeled image has a decoder of its own
        assert parts["labeled view"] == 0
        shares.append(sum(parts[name] for name in ("decode", "weak view", "strong view")) / whole)
    assert 0.6 < np.median(shares) < 1.6


def test_every_part_of_a_batch_is_measured(sets: Sets) -> None:
    drawn, breakdown = drawn_by(sets, VIEW)
    parts = [breakdown.parts(one) for one in drawn]
    assert set(parts[-1]) == {
        "decode", "weak view", "strong view", "labeled view", "mixup", "mosaic", "boxes",
    }  # fmt: skip
    assert parts[0]["mosaic"] == 0
    assert all(one > 0 for one in medians(parts[2:]).values())


def test_a_view_of_larger_size_costs_more_and_the_decoder_does_not_count_it(sets: Sets) -> None:
    costs = {}
    for side in (100, 800):
        drawn, breakdown = drawn_by(sets, ViewSettings(short_range=(side, side), long_max=2 * side))
        costs[side] = medians([breakdown.parts(one) for one in drawn])
    for name in ("weak view", "strong view", "labeled view"):
        assert costs[800][name] > 4 * costs[100][name], name
    assert costs[800]["decode"] < costs[800]["weak view"] / 2


def test_every_kernel_and_every_colour_operation_is_measured(sets: Sets) -> None:
    drawn, breakdown = drawn_by(sets, VIEW)
    kernels = breakdown.kernels(drawn[-1])
    assert set(kernels) == {"decode", "weak warp", "weak normalise", "strong warp"} | (
        set(COLOUR_OPS) - {"identity"}
    )
    assert kernels["saturation"] > kernels["brightness"]
