"""Another number of ranks takes a run up: each image of an epoch is still drawn, and hardly one twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.loaders.batch import TrainBatch
from pipeline.samples.redealing import redeal
from pipeline.samples.stream import OrderSettings, SampleStream, StreamState
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from tests.pipeline.batches import open_loader

DrawSet = Callable[..., Dataset]
SETTINGS = {
    "view": ViewSettings(short_range=(32, 48), long_max=64),
    "mix": MixSettings(mosaic_range=(32, 48)),
}


def stream(num_rows: int, position: dict[str, Any]) -> SampleStream:
    stops = [tuple(StreamState(epoch=e, offset=o) for e, o in stop) for stop in position["labeled"]["stops"]]
    order = OrderSettings(seed=1, shuffle_window=8, rank=position["rank"], world=position["world"])
    made = SampleStream(np.arange(num_rows) % 3, order, stops=stops)
    made.set_repeat_factors(1 + np.arange(num_rows) % 4 * 0.4)
    return made


def draw(num_rows: int, position: dict[str, Any], num: int, drawn: dict[int, Counter[int]]) -> None:
    """Take `num` samples one by one, note the epoch of each, and leave the position after them."""
    ours, part = stream(num_rows, position), position["labeled"]
    state = StreamState(epoch=part["epoch"], offset=part["offset"])
    for _ in range(num):
        (row,), state = ours.take(state, 1)
        drawn.setdefault(state.epoch, Counter())[int(row)] += 1
    part |= {"epoch": state.epoch, "offset": state.offset}
    part["stops"] = [[[s.epoch, s.offset] for s in stop] for stop in ours.stops(state.epoch)]


def begin(world: int) -> list[dict[str, Any]]:
    part = {"epoch": 0, "offset": 0, "left_out": [], "stops": []}
    same = {"version": 2, "seed": 1, "step": 0, "world": world, "unlabeled": None}
    return [{**same, "rank": rank, "labeled": dict(part)} for rank in range(world)]


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 30),
    st.lists(st.lists(st.integers(0, 25), min_size=1, max_size=5), min_size=1, max_size=5),
)
def test_every_image_of_an_epoch_is_drawn_and_only_the_wrap_around_twice(
    num_rows: int, parts: list[list[int]]
) -> None:
    """Each part of the run is a list of how many samples every rank takes before the number of ranks changes."""
    drawn: dict[int, Counter[int]] = {}
    positions = begin(len(parts[0]))
    for takes in parts:
        positions = [redeal(positions, rank=rank, world=len(takes)) for rank in range(len(takes))]
        for position, num in zip(positions, takes, strict=True):
            draw(num_rows, position, num, drawn)
    while min(position["labeled"]["epoch"] for position in positions) <= 1:
        for position in positions:
            draw(num_rows, position, 1, drawn)
    for epoch in (0, 1):
        wanted = Counter(stream(num_rows, begin(1)[0]).epoch(epoch).tolist())
        assert not wanted - drawn[epoch]  # nothing is missing
        assert (drawn[epoch] - wanted).total() <= sum(len(takes) - 1 for takes in [parts[0], *parts])


def test_a_wrap_around_that_nobody_drew_is_not_dealt_again() -> None:
    positions = begin(4)
    for world in (5, 3, 4, 1):
        positions = [redeal(positions, rank=rank, world=world) for rank in range(world)]
    assert stream(11, positions[0]).epoch(0).tolist() == stream(11, begin(1)[0]).epoch(0).tolist()


def keys_of(batches: Iterator[TrainBatch], num: int) -> tuple[list[str], dict[str, Any]]:
    taken = list(islice(batches, num))
    views = [view for batch in taken for view in (batch.labeled, batch.weak) if view is not None]
    return [key for view in views for key in view.keys], taken[-1].resume


def test_two_loaders_that_become_one_draw_the_rest_of_the_epoch_and_mix_anew(draw_set: DrawSet) -> None:
    unlabeled = draw_set("unlabeled", 16)
    keys, positions = [], []
    for rank in range(2):
        with open_loader(None, unlabeled, batch_unlabeled=2, rank=rank, world=2, **SETTINGS) as loader:
            ours, position = keys_of(loader, 3)
        keys += ours
        positions.append(position)
    after = redeal(positions, rank=0, world=1)
    with open_loader(None, unlabeled, batch_unlabeled=2, resume=after, **SETTINGS) as loader:
        batches = list(islice(loader, 5))
    assert [batch.step for batch in batches] == [3, 4, 5, 6, 7]
    rest = [key for batch in batches[:2] if batch.weak for key in batch.weak.keys]
    assert sorted(keys + rest) == sorted(unlabeled.images()["key"].to_pylist())
    assert [batch.mosaic is None for batch in batches] == [True, True, True, True, False]


def test_what_one_rank_set_aside_no_new_rank_draws(draw_set: DrawSet, damage: Callable[..., str]) -> None:
    unlabeled = draw_set("unlabeled", 12)
    for row in (1, 4, 6, 9, 11):
        damage(unlabeled, row)
    positions = []
    for rank in range(2):
        with open_loader(None, unlabeled, batch_unlabeled=3, rank=rank, world=2, **SETTINGS) as loader:
            positions.append(keys_of(loader, 1)[1])
    first, second = (set(position["unlabeled"]["left_out"]) for position in positions)
    assert first - second
    assert second - first
    after = redeal(positions, rank=2, world=3)
    with open_loader(None, unlabeled, batch_unlabeled=3, rank=2, world=3, resume=after, **SETTINGS) as loader:
        known = after["unlabeled"]["left_out"]
        assert set(known) == first | second
        keys = unlabeled.images()["key"].to_pylist()
        assert {keys[row] for row in known} <= loader.unreadable("unlabeled").keys()


def test_positions_that_do_not_belong_together_are_refused() -> None:
    one, other = begin(2)
    for change in ({"step": 7}, {"seed": 2}, {"rank": 0}, {"world": 3}):
        with pytest.raises(StoreError, match=f"expected {next(iter(change))}"):
            redeal([one, other | change], rank=0, world=1)
