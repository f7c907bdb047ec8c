"""The order of samples: complete, equal over ranks, repeatable from any state, and repeated by factor."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.randomness import Purpose
from pipeline.samples.stream import OrderSettings, SampleStream, StreamExhaustedError, StreamState
from storage.errors import ConfigError

START = StreamState()


def stream(num_rows: int = 50, num_shards: int = 4, **more: Any) -> SampleStream:
    of_stream = {name: more.pop(name) for name in ("purpose", "rows") if name in more}
    order = OrderSettings(**({"seed": 7, "shuffle_window": 16} | more))
    return SampleStream(np.arange(num_rows) % num_shards, order, **of_stream)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_rank_has_an_equal_share_and_every_image_is_seen(
    num_rows: int, num_shards: int, world: int, window: int, epoch: int, repeat: bool
) -> None:
    shares = []
    for rank in range(world):
        ours = stream(num_rows, num_shards, rank=rank, world=world, shuffle_window=window)
        if repeat:
            ours.set_repeat_factors(1 + np.arange(num_rows) * 0.3)
        shares.append(ours.epoch(epoch))
    assert len({len(share) for share in shares}) == 1
    assert set(np.concatenate(shares).tolist()) == set(range(num_rows))
    if not repeat:
        assert len(shares[0]) == -(-num_rows // world)


def test_epochs_seeds_and_purposes_differ_and_the_same_arguments_agree() -> None:
    order = stream().epoch(0)
    assert np.array_equal(order, stream().epoch(0))
    assert sorted(order.tolist()) == list(range(50))
    for other in (
        stream().epoch(1),
        stream(seed=8).epoch(0),
        stream(purpose=Purpose.UNLABELED_ORDER).epoch(0),
    ):
        assert not np.array_equal(order, other)
        assert sorted(other.tolist()) == list(range(50))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 70), max_size=6), st.integers(0, 200))
def test_takes_in_pieces_give_the_same_rows_as_one_take(pieces: list[int], rest: int) -> None:
    skip = frozenset({3, 17})
    state, rows = START, []
    for piece in [*pieces, rest]:
        taken, state = stream().take(state, piece, skip)
        rows += taken.tolist()
    whole, end = stream().take(START, sum(pieces) + rest, skip)
    assert rows == whole.tolist()
    assert end == state
    assert not skip & set(rows)


def test_a_bad_row_is_replaced_by_the_next_sample_of_the_stream() -> None:
    order, _ = stream().take(START, 20)
    bad = int(order[4])
    rows, state = stream().take(START, 10, frozenset({bad}))
    assert rows.tolist() == [*order[:4], *order[5:11]]
    assert state == StreamState(epoch=0, offset=11)


def test_taking_a_few_samples_looks_at_no_more_of_a_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    class Watched(np.ndarray[tuple[int], np.dtype[np.int64]]):
        def tolist(self) -> list[int]:  # type: ignore[override]
            looked_at.append(len(self))
            return super().tolist()

    ours = stream(num_rows=1000)
    order = ours.epoch(0)
    monkeypatch.setattr(ours, "epoch", lambda _: order.view(Watched))
    rows, state = ours.take(START, 4, frozenset({int(order[1])}))
    assert rows.tolist() == order[[0, 2, 3, 4]].tolist()
    assert state == StreamState(epoch=0, offset=5)
    assert looked_at == [4, 1]


def test_equal_repeat_factors_are_kept_as_one_number() -> None:
    ours = stream(num_rows=1000)
    for factor in (1.0, 2.0):
        ours.set_repeat_factors(np.full(1000, factor))
        ((_, factors),) = ours.schedule(0)
        assert factors.shape == (1000,)
        assert factors.strides == (0,)
    assert Counter(Counter(ours.epoch(0).tolist()).values()) == {2: 1000}


def test_fewer_images_than_asked_for_wrap_into_the_next_epochs() -> None:
    rows, state = stream(num_rows=3).take(START, 8)
    assert Counter(rows[:6].tolist()) == {0: 2, 1: 2, 2: 2}
    assert state == StreamState(epoch=2, offset=2)
    one, _ = stream(num_rows=1, rank=2, world=3).take(START, 5)
    assert one.tolist() == [0] * 5


def test_shards_stay_together_and_windows_limit_the_shuffle() -> None:
    shards = np.repeat(np.arange(5), 10)
    order = SampleStream(shards, OrderSettings(seed=0, shuffle_window=10)).epoch(0)
    shards_seen = shards[order].reshape(5, 10)
    assert (shards_seen == shards_seen[:, :1]).all()
    assert sorted(shards_seen[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert shards_seen[:, 0].tolist() != [0, 1, 2, 3, 4]
    assert (np.diff(order.reshape(5, 10), axis=1) < 0).any()


def test_a_selection_of_rows_is_all_that_is_drawn() -> None:
    rows, _ = stream(rows=[4, 9, 11]).take(START, 30)
    assert Counter(rows.tolist()) == {4: 10, 9: 10, 11: 10}


def test_bernoulli_repeats_are_right_in_expectation_and_redrawn_each_epoch() -> None:
    ours = stream(num_rows=4)
    ours.set_repeat_factors([1.0, 1.25, 2.5, 3.0])
    counts = np.stack([np.bincount(ours.epoch(epoch), minlength=4) for epoch in range(800)])
    assert (counts[:, 0] == 1).all()
    assert (counts[:, 3] == 3).all()
    assert set(counts[:, 1].tolist()) == {1, 2}
    assert set(counts[:, 2].tolist()) == {2, 3}
    # standard error of the means over 800 draws: 0.016 and 0.018
    np.testing.assert_allclose(counts.mean(0), [1.0, 1.25, 2.5, 3.0], atol=0.07)


def test_ceil_repeats_are_the_same_in_every_epoch() -> None:
    ours = stream(num_rows=3, rounding="ceil")
    ours.set_repeat_factors([1.0, 1.01, 2.5])
    for epoch in range(5):
        assert np.bincount(ours.epoch(epoch)).tolist() == [1, 2, 3]


def test_repeat_factors_count_from_their_epoch_on_and_a_restored_schedule_gives_the_same_order() -> None:
    ours, untouched = stream(num_rows=10), stream(num_rows=10)
    ours.set_repeat_factors(np.full(10, 2.0), from_epoch=3)
    ours.set_repeat_factors(np.full(10, 3.0), from_epoch=5)
    assert [len(ours.epoch(epoch)) for epoch in range(7)] == [10, 10, 10, 20, 20, 30, 30]
    assert np.array_equal(ours.epoch(2), untouched.epoch(2))
    resumed = stream(num_rows=10)
    resumed.restore(ours.schedule(4))
    assert [start for start, _ in ours.schedule(4)] == [3, 5]
    assert [start for start, _ in ours.schedule(6)] == [5]
    for epoch in (4, 5, 6):
        assert np.array_equal(resumed.epoch(epoch), ours.epoch(epoch))


def test_factors_that_no_coming_epoch_needs_are_forgotten() -> None:
    ours = stream(num_rows=10)
    for start in range(1, 9):
        ours.set_repeat_factors(np.full(10, float(start)), from_epoch=start)
    lengths = [len(ours.epoch(epoch)) for epoch in range(5, 10)]
    ours.forget(5)
    with pytest.raises(ValueError, match="empty"):
        ours.epoch(4)
    assert [start for start, _ in ours.schedule(5)] == [5, 6, 7, 8]
    assert [len(ours.epoch(epoch)) for epoch in range(5, 10)] == lengths == [50, 60, 70, 80, 80]


@pytest.mark.parametrize("wrong", [[0.5] * 50, [np.nan] * 50, [1.0] * 49, [np.inf] * 50])
def test_impossible_repeat_factors_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="repeat factors"):
        stream().set_repeat_factors(wrong)


def test_a_stream_without_a_readable_sample_ends_with_an_error() -> None:
    with pytest.raises(StreamExhaustedError, match="none of the 50 images"):
        stream().take(START, 1, frozenset(range(50)))
    # One image that never moves is all that rank 1 gets: it must not search for ever.
    stuck = SampleStream([0, 0], OrderSettings(shuffle_window=1, rank=1, world=2))
    with pytest.raises(StreamExhaustedError):
        stuck.take(START, 1, frozenset({1}))


@pytest.mark.parametrize(("shards", "rows"), [([], None), ([0], [])])
def test_a_stream_without_an_image_is_refused(shards: list[int], rows: list[int] | None) -> None:
    with pytest.raises(ValueError, match="stream needs"):
        SampleStream(shards, OrderSettings(), rows=rows)


@pytest.mark.parametrize("wrong", [{"rank": 1}, {"rank": -1}, {"shuffle_window": 0}])
def test_impossible_orders_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"rank must|window must"):
        OrderSettings(**wrong)  # type: ignore[arg-type]
