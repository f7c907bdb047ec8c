"""The order of samples: a pure function of (seed, epoch, rank, world size).

In: for every row of an image table the number of its shard, how often each image is to be repeated, and where
every rank stood each time the number of ranks changed. Out: `SampleStream.take(state, n)`, the next n rows after
a state of two integers, at random access.

Guarantees: the same seed gives the same order on every machine; in an epoch every image is seen at least
once over all ranks, also when their number changes within it; every rank's epoch is equally long, so that no
rank waits for another one; nothing is remembered between calls except the repeat factors asked for and the
epochs from which they count.

Shapes: R rows of the image table, E rows in one epoch of one rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.randomness import Purpose, generator
from storage.errors import ConfigError, StoreError

Rows = npt.NDArray[np.int64]
Factors = npt.NDArray[np.float64]
Rounding = Literal["bernoulli", "ceil"]

MAX_FRUITLESS_EPOCHS = 1000
"""A rank's slice of an epoch may hold unreadable images alone; that many in a row is no chance any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderSettings:
    """What fixes the order of samples and every random number of a run's pipeline."""

    seed: int = 0
    rank: int = 0
    """Which of the equal shares of the data this process draws."""
    world: int = 1
    """How many processes draw."""
    shuffle_window: int = 1024
    """Samples are shuffled within windows of this many."""
    rounding: Rounding = "bernoulli"
    """How repeat factors become copies, see `SampleStream`."""

    def __post_init__(self) -> None:
        """Refuse what no order can be made of."""
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"rank must be in 0 .. world - 1; got rank {self.rank} of world {self.world}")
        if self.shuffle_window < 1:
            raise ConfigError(f"the shuffle window must be at least 1 sample; got {self.shuffle_window}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamState:
    """Where a stream stands: `offset` samples of this rank's part of `epoch` are taken."""

    epoch: int = 0
    offset: int = 0


Stop = tuple[StreamState, ...]
"""Where each rank stood, by its number, when the run stopped to go on with another number of ranks."""


class StreamExhaustedError(StoreError):
    """A whole epoch of a stream holds no sample that may be taken."""


class SampleStream:
    """The endless order in which one rank sees the rows of an image table.

    An epoch: the shards shuffled, their rows one after the other, each repeated by its factor, then
    permuted within consecutive windows of `shuffle_window` samples. Rank r takes the r-th of `world` equal
    contiguous slices (so a rank touches few shards); the last slice wraps around to the first samples.

    What no rank had taken of an epoch at a stop is dealt anew in the same way, in its order; so again at the
    next stop. An image is drawn more often than its factor says only where a slice wraps around: fewer than
    `world` samples for each dealing.

    `rounding` turns a repeat factor r into copies: "bernoulli" takes floor(r) and one more with the
    probability of the fraction, drawn anew each epoch (right in expectation, as detectron2); "ceil" always
    takes ceil(r), as mmengine (the LVIS paper, arXiv 1908.03195, leaves it open).
    """

    def __init__(
        self,
        shards_R: npt.ArrayLike,
        order: OrderSettings,
        *,
        purpose: Purpose = Purpose.LABELED_ORDER,
        rows: npt.ArrayLike | None = None,
        stops: Sequence[Stop] = (),
    ) -> None:
        """`rows` are the rows to draw from (all by default); `purpose` tells streams of one seed apart.

        `stops` are those of other numbers of ranks before this one, oldest first; after the last of them every
        rank starts at the least epoch that it names, at offset 0.
        """
        self._shards_R = np.asarray(shards_R, np.int64)
        num_rows = len(self._shards_R)
        self._rows = np.arange(num_rows) if rows is None else np.unique(np.asarray(rows, np.int64))
        if not len(self._rows):
            raise ValueError("a stream needs at least one image; got an empty image table or selection")
        self._settings, self._purpose = order, purpose
        self._stops = tuple(stops)
        self._schedule: list[tuple[int, Factors]] = [(0, np.broadcast_to(1.0, num_rows))]
        self._cached_order = lru_cache(maxsize=3)(self._order)

    def epoch(self, epoch: int) -> Rows:
        """Return this rank's rows of an epoch in order, shape (E,)."""
        first = max(i for i, (start, _) in enumerate(self._schedule) if start <= epoch)
        return self._cached_order(epoch, first)

    def take(
        self, state: StreamState, num: int, unusable: frozenset[int] = frozenset()
    ) -> tuple[Rows, StreamState]:
        """Return the next `num` rows after `state` that are not in `unusable`, and the state after them.

        Goes on into the next epochs as often as needed, so `num` may exceed the number of images.

        Raises:
            StreamExhaustedError: every row of a whole epoch is in `unusable`.
        """
        if len(unusable) >= len(self._rows) and unusable.issuperset(self._rows.tolist()):
            raise self._exhausted()
        taken: list[int] = []
        epoch, offset, last_fruitful = state.epoch, state.offset, state.epoch
        while len(taken) < num:
            order = self.epoch(epoch)
            if offset >= len(order):
                if epoch - last_fruitful > MAX_FRUITLESS_EPOCHS:
                    raise self._exhausted()
                epoch, offset = epoch + 1, 0
                continue
            rows = order[offset : offset + num - len(taken)]  # never the whole rest: epochs are long
            offset += len(rows)
            good = [row for row in rows.tolist() if row not in unusable]
            if good:
                taken += good
                last_fruitful = epoch
        return np.array(taken, np.int64), StreamState(epoch=epoch, offset=offset)

    def set_repeat_factors(self, factors_R: npt.ArrayLike, *, from_epoch: int = 0) -> None:
        """Let image r be repeated `factors_R[r]` times an epoch, from `from_epoch` on.

        Factors are at least 1 and finite. An epoch that has begun must not be changed: the caller names a
        later one. Factors that were given before for epochs at or after `from_epoch` are replaced. Factors
        that are all the same are kept as one number, broadcast: a large set without repeats costs nothing.
        """
        factors = np.array(factors_R, np.float64)
        if factors.shape != self._shards_R.shape:
            raise ValueError(f"expected {len(self._shards_R)} repeat factors, got shape {factors.shape}")
        wrong = np.flatnonzero(~(np.isfinite(factors) & (factors >= 1)))
        if len(wrong):
            raise ValueError(
                f"repeat factors are finite and at least 1; row {wrong[0]} has {factors[wrong[0]]} "
                f"({len(wrong)} such rows)"
            )
        if (factors == factors[0]).all():
            factors = np.broadcast_to(factors[0], factors.shape)
        kept = [entry for entry in self._schedule if entry[0] < from_epoch]
        self._schedule = [*kept, (from_epoch, factors)]
        self._cached_order.cache_clear()

    def schedule(self, epoch: int) -> list[tuple[int, Factors]]:
        """Return the (first epoch, factors) pairs that matter from `epoch` on; a checkpoint keeps them."""
        first = max(i for i, (start, _) in enumerate(self._schedule) if start <= epoch)
        return self._schedule[first:]

    def stops(self, epoch: int) -> list[Stop]:
        """Return the stops that matter to a rank that stands in `epoch`; a checkpoint keeps them."""
        return [stop for stop in self._stops if epoch <= max(state.epoch for state in stop)]

    def forget(self, epoch: int) -> None:
        """Drop the repeat factors that no epoch from `epoch` on needs."""
        self._schedule = self.schedule(epoch)
        self._cached_order.cache_clear()

    def restore(self, schedule: list[tuple[int, Factors]]) -> None:
        """Take up the schedule that `schedule()` gave before."""
        for start, factors_R in schedule:
            self.set_repeat_factors(factors_R, from_epoch=start)

    def _exhausted(self) -> StreamExhaustedError:
        return StreamExhaustedError(
            f"none of the {len(self._rows)} images that rank {self._settings.rank} of {self._settings.world} draws "
            "from can be read: all were set aside; check the shards (the log names each image and the reason)"
        )

    def _order(self, epoch: int, entry: int) -> Rows:
        settings = self._settings
        rng = generator(settings.seed, epoch, 0, self._purpose)  # rank 0's: all ranks cut up one order
        shards_R = self._shards_R[self._rows]
        turn_of_shard = rng.permutation(shards_R.max() + 1)
        by_shard = self._rows[np.argsort(turn_of_shard[shards_R], kind="stable")]
        copies = self._copies(self._schedule[entry][1][by_shard], rng)
        repeated = np.repeat(by_shard, copies)
        windows = np.arange(len(repeated)) // settings.shuffle_window
        # The last key sorts first: by window, and by a random number within each.
        order = repeated[np.lexsort((rng.random(len(repeated)), windows))]
        for stop in self._stops:
            order = _left_over(order, epoch, stop)
        share = -(-len(order) // settings.world)
        # `np.resize` repeats from the start: the last slice wraps around, so that all are equally long.
        return np.resize(order, share * settings.world)[settings.rank * share : (settings.rank + 1) * share]

    def _copies(self, factors: Factors, rng: np.random.Generator) -> Rows:
        if self._settings.rounding == "ceil":
            return np.ceil(factors).astype(np.int64)
        whole = np.floor(factors)
        return (whole + (rng.random(len(factors)) < factors - whole)).astype(np.int64)


def _left_over(order: Rows, epoch: int, stop: Stop) -> Rows:
    """Return what the ranks of a stop had not taken of an epoch dealt to them, without its wrap-around."""
    share = -(-len(order) // len(stop))
    taken = [share * (state.epoch > epoch) + state.offset * (state.epoch == epoch) for state in stop]
    slices = [np.arange(rank * share + taken[rank], (rank + 1) * share) for rank in range(len(stop))]
    left = np.concatenate(slices)
    return order[left[left < len(order)]]  # beyond the end lies the wrap-around
