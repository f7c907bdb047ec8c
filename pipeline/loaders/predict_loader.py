"""Test views of a data set in order, for scoring and for labeling.

In: a data set, or some of its shards. Out: `PredictBatch` by batch, made ahead in a background thread, ending
after the last image; no batch spans two shards. An image that cannot be read or decoded is in no batch: it is
named in `skipped`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.graphs.views import PredictViews
from pipeline.loaders.background import Background
from pipeline.loaders.batch import View
from pipeline.loaders.labeled import size_pairs
from pipeline.plans import move_boxes as boxes
from pipeline.plans.view_plans import ViewPlan, plan_test
from pipeline.samples.quarantine import Quarantine
from pipeline.samples.reader import SampleReader
from pipeline.samples.safe_graph import GraphDevice, SafeGraph, Samples, UnreadableBatchError, read_samples
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedImage:
    """An image that has no prediction."""

    key: str
    shard: str
    """File name of the shard."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictBatch:
    """Test views of up to `batch_size` images of one shard, in the order of the image table."""

    keys: tuple[str, ...]
    image_ids_B: npt.NDArray[np.int64]
    original_sizes_B2: npt.NDArray[np.int64]
    """(height, width) of the original images."""
    view: View
    shard: str
    """File name of the shard."""
    plan: ViewPlan

    def to_original(self, labels: Labels) -> Labels:
        """Return labels of the views in pixels of the original images, clipped, degenerate ones dropped."""
        inverse_B33 = np.linalg.inv(self.plan.box_matrices_B33).astype(np.float64)
        return boxes.project(labels, inverse_B33, self.original_sizes_B2)


class PredictLoader(Iterator[PredictBatch]):
    """Test views of some shards. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        dataset: Dataset,
        shards: Sequence[str] | None = None,
        *,
        batch_size: int = 8,
        view: ViewSettings | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        device_id: int = 0,
        num_threads: int = 1,
        prefetch: int = 2,
    ) -> None:
        """Start to work on `shards` (file names; all of the set by default), in the order given.

        Raises ValueError for a shard that the set does not have.
        """
        if batch_size < 1:
            raise ValueError(f"the batch size must be at least 1; got {batch_size}")
        chosen = dataset.shards if shards is None else tuple(shards)
        known = frozenset(dataset.shards)
        unknown = [shard for shard in chosen if shard not in known]
        if unknown:
            raise ValueError(
                f"expected shards of {dataset.root} ({len(dataset.shards)} from {dataset.shards[0]} on), got "
                f"{unknown[0]!r}"
            )
        self.skipped: list[SkippedImage] = []
        """Images without a prediction; complete once the loader has ended."""
        work = _Work(
            dataset=dataset,
            shards=chosen,
            batch_size=batch_size,
            view=view or ViewSettings(),
            engine=GraphDevice(device=device, device_id=device_id, num_threads=num_threads),
            skipped=self.skipped,
        )
        self._background = Background(partial(_batches, work), depth=prefetch, name="predict-loader")

    def __next__(self) -> PredictBatch:
        """Return the next batch, waiting for it if need be; StopIteration after the last one."""
        return self._background.get()

    def close(self) -> None:
        """End the background thread; may be called again."""
        self._background.close()

    def __enter__(self) -> PredictLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Work:
    """What the background thread needs; does not refer to the loader."""

    dataset: Dataset
    shards: Sequence[str]
    batch_size: int
    view: ViewSettings
    engine: GraphDevice
    skipped: list[SkippedImage]


def _batches(work: _Work) -> Generator[PredictBatch]:
    with SampleReader(work.dataset) as reader:

        def make() -> PredictViews:
            return PredictViews(
                work.view,
                batch_size=work.batch_size,
                num_threads=work.engine.num_threads,
                device=work.engine.device,
                device_id=work.engine.device_id,
            )

        graph = SafeGraph(make, reader, work.engine)
        quarantine = Quarantine(reader)
        for shard in work.shards:
            rows = reader.rows_of(shard)
            for start in range(0, len(rows), work.batch_size):
                batch = _batch(work, graph, reader, quarantine, shard, rows[start : start + work.batch_size])
                if batch is not None:
                    yield batch


def _batch(
    work: _Work,
    graph: SafeGraph[PredictViews],
    reader: SampleReader,
    quarantine: Quarantine,
    shard: str,
    rows: npt.NDArray[np.int64],
) -> PredictBatch | None:
    """Return the batch of those of the rows that can be used; None when there is none."""

    def execute(views: PredictViews, samples: Samples) -> tuple[ViewPlan, Tensor]:
        plan = plan_test(work.view, samples.sizes_B2)
        return plan, views.run(samples.encoded, plan)

    while True:
        rows = np.array([row for row in rows.tolist() if row not in quarantine.rows], np.int64)
        if not len(rows):
            return None
        try:
            samples = read_samples(reader, rows)
            plan, images_BCHW = graph.run(samples, execute)
        except UnreadableBatchError as unreadable:
            for error in unreadable.errors:
                work.skipped.extend(
                    SkippedImage(key=reader.keys[row], shard=shard, reason=error.reason)
                    for row in quarantine.add(error)
                )
            continue
        return PredictBatch(
            keys=samples.keys,
            image_ids_B=reader.image_ids_R[rows],
            original_sizes_B2=samples.sizes_B2,
            view=View(images_BCHW=images_BCHW, sizes_B2=size_pairs(plan.sizes_B2), keys=samples.keys),
            shard=shard,
            plan=plan,
        )
