"""A data set as an endless stream of samples that can be read and decoded.

In: a data set and the order of its samples. Out: what a DALI graph made of the next samples. A sample that
cannot be read, or on which the graph fails, is set aside by name and replaced by the next one of the stream:
the result is the same as if it had been known to be bad before, so a resumed run goes the same way.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.randomness import Purpose
from pipeline.samples.quarantine import Quarantine
from pipeline.samples.reader import SampleReader
from pipeline.samples.safe_graph import SafeGraph, Samples, UnreadableBatchError, read_samples
from pipeline.samples.stream import Rounding, SampleStream, Stop, StreamState
from pipeline.timing import Stopwatch
from storage.dataset.dataset import Dataset
from storage.errors import StoreError

G = TypeVar("G")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What fixes the order of samples and every random number of a run's pipeline."""

    seed: int = 0
    rank: int = 0
    """Which of the equal shares this process draws."""
    world: int = 1
    """How many processes draw."""
    window: int = 1024
    """Samples are shuffled within windows of this many."""
    rounding: Rounding = "bernoulli"
    """How repeat factors become copies, see `SampleStream`."""


class SampleSource:
    """One data set of a training run, and how far it has been drawn."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        order: Order,
        purpose: Purpose,
        batch_size: int,
        rows: npt.NDArray[np.int64] | None = None,
        truth: bytes = b"",
        repeat_factors: Mapping[str, float] | None = None,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        """`rows` are the rows of the image table to draw from; `resume` is what `position` gave before.

        `truth` is a hash of the labels that go with the images: a position is one in a set with these labels.
        """
        self.dataset = dataset
        self.batch_size = batch_size
        self.reader = SampleReader(dataset)
        if not len(self.reader):
            raise StoreError(
                f"expected images, got an empty data set: {dataset.root}; nothing can be drawn from it"
            )
        self.stream = SampleStream(
            self.reader.shards_R,
            purpose=purpose,
            rows=rows,
            seed=order.seed,
            rank=order.rank,
            world=order.world,
            window=order.window,
            rounding=order.rounding,
            stops=() if resume is None else _stops(resume),
        )
        self.state = StreamState()
        self.quarantine = Quarantine(self.reader)
        self._fingerprint = _fingerprint(dataset, self.reader, truth)
        self._lock = threading.Lock()  # the order changes only between two draws
        self._reached = 0
        if repeat_factors is not None:
            self.stream.set_repeat_factors(self._factors(repeat_factors))
        if resume is not None:
            self._restore(resume)

    def draw(
        self, graph: SafeGraph[G], execute: Callable[[G, Samples], T], watch: Stopwatch
    ) -> tuple[Samples, T]:
        """Return the next batch of samples that can be used, and what `execute` made of them.

        Raises StreamExhaustedError when no image is left.
        """
        while True:
            with self._lock:
                rows, after = self.stream.take(self.state, self.batch_size, self.quarantine.rows)
                self._reached = max(self._reached, after.epoch)
            try:
                with watch.measure("read"):
                    samples = read_samples(self.reader, rows)
                with watch.measure("views"):
                    made = graph.run(samples, execute)
            except UnreadableBatchError as unreadable:
                for error in unreadable.errors:
                    self.quarantine.add(error)
                continue
            self.state = after
            return samples, made

    def skip(self, num_batches: int) -> None:
        """Go on as if so many batches had been drawn already, and every image of them had been usable."""
        if num_batches > 0:
            _, self.state = self.stream.take(self.state, num_batches * self.batch_size, self.quarantine.rows)

    def position(self) -> dict[str, Any]:
        """Return where this source stands, as integers; `repeat_factors` completes it."""
        return {
            "dataset": self._fingerprint,
            "batch_size": self.batch_size,
            "epoch": self.state.epoch,
            "offset": self.state.offset,
            "left_out": sorted(self.quarantine.rows),
            "stops": [[[s.epoch, s.offset] for s in stop] for stop in self.stream.stops(self.state.epoch)],
        }

    def repeat_factors(self, epoch: int) -> list[Any]:
        """Return the repeat factors that matter from `epoch` on, as (first epoch, tensor) pairs.

        Factors that are all the same are one number, so that a large set without repeats costs a checkpoint
        nothing. Asked for each batch, so nothing here looks at every image.
        """
        return [
            [start, torch.tensor(factors_R[:1]) if factors_R.strides == (0,) else torch.from_numpy(factors_R)]
            for start, factors_R in self.stream.schedule(epoch)
        ]

    def repeats_by(self, factors: Mapping[str, float]) -> bool:
        """Return whether these are the repeat factors that were asked for last, before a resume or after."""
        _, last_R = self.stream.schedule(self.state.epoch)[-1]
        return np.array_equal(last_R, self._factors(factors))

    def set_repeat_factors(
        self,
        factors: Mapping[str, float],
        position: Mapping[str, Any],
        *,
        batches_ahead: int,
        agree: Callable[[int], int],
    ) -> int:
        """Repeat images by new factors from a coming epoch on, and return that epoch.

        It is the first that cannot have begun when the background is `batches_ahead` batches further than the
        consumer, so a function of the consumer's position; a later one where bad images carried the background
        further, or where `agree` makes one of it. Nothing is drawn until `agree` has answered. Factors that no
        epoch from the consumer's on needs are dropped.
        """
        factors_R = self._factors(factors)
        consumed = StreamState(epoch=position["epoch"], offset=position["offset"])
        with self._lock:
            left_out = frozenset(position["left_out"])
            _, ahead = self.stream.take(consumed, batches_ahead * self.batch_size, left_out)
            # Images found to be bad meanwhile may have carried the background further than computed.
            earliest = max(ahead.epoch, self._reached) + 1
            from_epoch = agree(earliest)
            assert from_epoch >= earliest, "an epoch that may have begun is not changed"
            self.stream.forget(consumed.epoch)
            self.stream.set_repeat_factors(factors_R, from_epoch=from_epoch)
        return from_epoch

    def close(self) -> None:
        """Close the shards."""
        self.reader.close()

    def _factors(self, factors: Mapping[str, float]) -> npt.NDArray[np.float64]:
        unknown = factors.keys() - set(self.reader.keys)
        if unknown:
            raise StoreError(
                f"{len(unknown)} repeat factors are for images that {self.dataset.root} does not hold, such "
                f"as {min(unknown)!r}; ask for the factors of this data set"
            )
        return np.array([factors.get(key, 1.0) for key in self.reader.keys], np.float64)

    def _restore(self, resume: Mapping[str, Any]) -> None:
        for field, ours in (("dataset", self._fingerprint), ("batch_size", self.batch_size)):
            if resume[field] != ours:
                raise StoreError(
                    f"cannot resume: the checkpoint was written with another {field} ({resume[field]}, now "
                    f"{ours}; {self.dataset.root}); resume with the same one, or start a new run"
                )
        self.state = StreamState(epoch=resume["epoch"], offset=resume["offset"])
        self.quarantine = Quarantine(self.reader, resume["left_out"])
        schedule = resume["repeat_factors"]
        shape = (len(self.reader),)
        self.stream.restore([(start, np.broadcast_to(factors.numpy(), shape)) for start, factors in schedule])


def _stops(position: Mapping[str, Any]) -> list[Stop]:
    return [
        tuple(StreamState(epoch=epoch, offset=offset) for epoch, offset in stop) for stop in position["stops"]
    ]


def _fingerprint(dataset: Dataset, reader: SampleReader, truth: bytes) -> int:
    """Return the identity of the images, their order, their shards and their labels as an integer.

    `dataset.hash` is that of the images alone, whatever their sharding; a position counts rows and shards.
    """
    digest = hashlib.sha256(f"{dataset.hash}\n".encode())
    digest.update("\n".join(reader.keys).encode())
    digest.update(reader.shards_R.astype(np.int64).tobytes())
    digest.update(truth)
    return int(digest.hexdigest()[:15], 16)
