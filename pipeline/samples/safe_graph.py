"""Running a DALI graph on images that may turn out to be undecodable.

In: rows of a data set, and what to do with their bytes. Out: the result, or `UnreadableBatchError` with one
named error for every image that cannot be read or decoded. One such image kills a DALI pipeline and is
often not named by it, so the batch is then run image by image and the graph made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.graphs.views import PredictViews
from pipeline.plans.view_plans import plan_test
from pipeline.samples.reader import Encoded, SampleReader, SampleUnreadableError
from pipeline.settings import ViewSettings

G = TypeVar("G")
T = TypeVar("T")

_PROBE = ViewSettings(test_short=32, test_long_max=32)
_NOT_THE_IMAGE = ("out of memory", "CUDA runtime API error", "CUDA driver API error", "Can't allocate")
"""Where a message of DALI says this, the machine is at fault and no image must be blamed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphDevice:
    """Where DALI works, and with how much."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where pixels are decoded and kept; the views are tensors of this device."""
    device_id: int = 0
    """Which GPU."""
    num_threads: int = 1
    """Threads of each DALI graph."""


class UnreadableBatchError(Exception):
    """Some images of a batch cannot be used."""

    def __init__(self, errors: Sequence[SampleUnreadableError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, errors)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """The encoded images of one batch."""

    rows: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    encoded: list[Encoded]
    sizes_B2: npt.NDArray[np.int64]
    """(height, width) as decoded."""


def read_samples(reader: SampleReader, rows: npt.NDArray[np.int64]) -> Samples:
    """Return the bytes of these rows. Raises UnreadableBatchError."""
    found = reader.read(rows.tolist())
    errors = [one for one in found if isinstance(one, SampleUnreadableError)]
    if errors:
        raise UnreadableBatchError(errors)
    return Samples(
        rows=rows,
        keys=tuple(reader.keys[row] for row in rows),
        encoded=[one for one in found if not isinstance(one, SampleUnreadableError)],
        sizes_B2=np.stack([reader.heights_R[rows], reader.widths_R[rows]], axis=1),
    )


class SafeGraph(Generic[G]):
    """A DALI graph that survives bad images: they are named, and the graph is made anew.

    Making it anew takes about 50 ms for views with colour operations, 10 ms for those without.
    """

    def __init__(self, make: Callable[[], G], reader: SampleReader, engine: GraphDevice) -> None:
        self._make = make
        self._graph = make()
        self._reader = reader
        self._engine = engine

    def run(self, samples: Samples, execute: Callable[[G, Samples], T]) -> T:
        """Return what `execute` makes of the samples with the graph.

        Raises UnreadableBatchError naming the images that fail alone. A failure that no single image
        explains is tried once more, then raised as RuntimeError with the keys of the batch.
        """
        try:
            return execute(self._graph, samples)
        except RuntimeError as first:
            self._graph = self._make()
            errors = self._failures(samples)
            if errors:
                raise UnreadableBatchError(errors) from first
        try:
            return execute(self._graph, samples)
        except RuntimeError as second:
            raise RuntimeError(
                f"{self._reader.name}: the images {', '.join(samples.keys)} fail together, though each "
                f"alone can be decoded: {_gist(second)}"
            ) from second

    def _failures(self, samples: Samples) -> list[SampleUnreadableError]:
        found = []
        probe = self._probe()
        for index, row in enumerate(samples.rows.tolist()):
            plan = plan_test(_PROBE, samples.sizes_B2[index : index + 1])
            try:
                probe.run([samples.encoded[index]], plan)
            except RuntimeError as error:
                if any(sign in str(error) for sign in _NOT_THE_IMAGE):
                    raise
                found.append(self._reader.unreadable(row, f"cannot be decoded ({_gist(error)})"))
                probe = self._probe()
        return found

    def _probe(self) -> PredictViews:
        engine = self._engine
        return PredictViews(
            _PROBE, batch_size=1, num_threads=1, device=engine.device, device_id=engine.device_id
        )


def _gist(error: RuntimeError) -> str:
    """Return the line of a DALI message that says what is wrong; the rest is a stack trace."""
    said = str(error).rpartition("encountered:")[2]
    lines = [line.strip(" :") for line in said.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
