"""A data set as an endless stream of samples that can be read and decoded.

In: a data set and the order of its samples. Out: the rows of the next batch, and the state of the stream once they
are used. Rows that cannot be read or decoded go into the quarantine; the same batch is then drawn again without
them, the next ones of the stream in their place: the result is the same as if they had been known to be bad before,
so a resumed run goes the same way.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.randomness import Purpose
from pipeline.samples.quarantine import Quarantine
from pipeline.samples.reader import SampleReader
from pipeline.samples.stream import OrderSettings, Rows, SampleStream, Stop, StreamState
from storage.dataset.dataset import Dataset
from storage.errors import StoreError


class SampleSource:
    """One data set of a training run, and how far it has been drawn."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        order: OrderSettings,
        purpose: Purpose,
        batch_size: int,
        rows: Rows | None = None,
        truth: bytes = b"",
        repeat_factors: Mapping[str, float] | None = None,
        resume: Mapping[str, Any] | None = None,
        check_bytes: bool = False,
    ) -> None:
        """`rows` are the rows of the image table to draw from; `resume` is what `position` gave before.

        `truth` is a hash of the labels that go with the images: a position is one in a set with these labels. With
        `check_bytes` an image whose bytes were changed since the set was written cannot be used.
        """
        self.dataset = dataset
        self.batch_size = batch_size
        self.reader = SampleReader(dataset, check_bytes=check_bytes)
        if not len(self.reader):
            raise StoreError(
                f"expected images, got an empty data set: {dataset.root}; nothing can be drawn from it"
            )
        self.stream = SampleStream(
            self.reader.shards_R,
            order,
            purpose=purpose,
            rows=rows,
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

    def draw(self) -> tuple[Rows, StreamState]:
        """Return the rows of the next batch, none of them in quarantine, and the `state` to set once they are used.

        Raises StreamExhaustedError when no image is left.
        """
        with self._lock:
            rows, after = self.stream.take(self.state, self.batch_size, self.quarantine.rows)
            self._reached = max(self._reached, after.epoch)
        return rows, after

    def advance(self, num_batches: int) -> None:
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
            "stops": [
                [[state.epoch, state.offset] for state in stop]
                for stop in self.stream.stops(self.state.epoch)
            ],
        }

    def repeat_factors(self, epoch: int) -> list[Any]:
        """Return the repeat factors that matter from `epoch` on, as (first epoch, tensor) pairs.

        Factors that are all the same are one number, so that a large set without repeats costs a checkpoint
        nothing. Asked for each batch, so nothing here looks at every image.
        """
        return [
            # A stride of 0 is one number, broadcast.
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
            unusable = frozenset(position["left_out"])
            _, ahead = self.stream.take(consumed, batches_ahead * self.batch_size, unusable)
            # Images found to be bad meanwhile may have carried the background further than computed. The epoch
            # that it is in has begun, so the next one is the first that can change.
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
        for field, value in (("dataset", self._fingerprint), ("batch_size", self.batch_size)):
            if resume[field] != value:
                raise StoreError(
                    f"cannot resume: the checkpoint was written with another {field} ({resume[field]}, now "
                    f"{value}; {self.dataset.root}); resume with the same one, or start a new run"
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
