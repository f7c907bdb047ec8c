"""Test views of a data set shard by shard, for scoring and for labeling, or of image files, for predicting.

In: a data set, some of its shards, or image files, whose windows stand for shards. Out: `PredictBatch` by
batch, made ahead in a background thread, ending after the last image; no batch spans two shards. An image that
cannot be read or decoded, or whose bytes are not those that the set was written with, is in no batch: it is
named in `skipped`, before the first batch of the next shard comes. With `whole_shards` a shard is left at the
first image that may be had another time.

Guaranteed: an image is padded to the same size whatever its batch, as images of one shard are batched with those
of equal padded size; the group norms of a detector count the padding, so its scores would else depend on the
neighbours. Of the images that wait for others of their size only row numbers are held. A batch names its rows of
the image table: they ascend in a batch, not from batch to batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.graphs.graph import CPU, GraphDevice
from pipeline.graphs.views import PredictViews
from pipeline.loaders.background import Background
from pipeline.loaders.batch import View
from pipeline.plans import move_boxes as boxes
from pipeline.plans.view_plans import ViewPlan, padded_test_sizes, plan_test
from pipeline.samples.image_files import FileReader, ImageFiles
from pipeline.samples.quarantine import Quarantine
from pipeline.samples.reader import ImageReader, SampleReader, UnreadableBatchError, read_samples
from pipeline.samples.safe_graph import SafeGraph
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedImage:
    """An image that has no prediction."""

    key: str
    shard: str
    """File name of the shard."""
    reason: str
    lasting: bool
    """Whether the image itself is the reason, as it was written."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictBatch:
    """Test views of up to `batch_size` images of one shard, all padded to the size that each has alone."""

    rows_B: npt.NDArray[np.int64]
    """Their rows of the image table."""
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
        dataset: Dataset | ImageFiles,
        shards: Sequence[str] | None = None,
        *,
        batch_size: int = 8,
        view: ViewSettings | None = None,
        device: GraphDevice = CPU,
        prefetch: int = 2,
        whole_shards: bool = False,
    ) -> None:
        """Start to work on `shards` (file names; all of the set by default), in the order given.

        Raises ConfigError for a shard that the set does not have, and for batches without an image.
        """
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1; got {batch_size}")
        chosen = dataset.shards if shards is None else tuple(shards)
        of_dataset = frozenset(dataset.shards)
        unknown = [shard for shard in chosen if shard not in of_dataset]
        if unknown:
            raise ConfigError(
                f"expected shards of {dataset.root} ({len(dataset.shards)} from {dataset.shards[0]} on), got "
                f"{unknown[0]!r}"
            )
        self.skipped: list[SkippedImage] = []
        """Images without a prediction; complete once the loader has ended."""
        spec = _PredictSpec(
            dataset=dataset,
            shards=chosen,
            batch_size=batch_size,
            view=view or ViewSettings(),
            device=device,
            skipped=self.skipped,
            whole_shards=whole_shards,
        )
        self._background = Background(partial(_make_batches, spec), depth=prefetch, name="predict-loader")

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
class _PredictSpec:
    """What the background thread needs; does not refer to the loader."""

    dataset: Dataset | ImageFiles
    shards: Sequence[str]
    batch_size: int
    view: ViewSettings
    device: GraphDevice
    skipped: list[SkippedImage]
    whole_shards: bool


def _make_batches(spec: _PredictSpec) -> Generator[PredictBatch]:
    with _open_reader(spec.dataset) as reader:
        graph = SafeGraph(PredictViews, spec.view, reader, batch_size=spec.batch_size, device=spec.device)
        quarantine = Quarantine(reader)
        for shard in spec.shards:
            before = len(spec.skipped)
            for rows in _rows_of_batches(spec, reader, shard):
                batch = _batch(spec, graph, quarantine, shard, rows)
                if batch is not None:
                    yield batch
                if spec.whole_shards and any(not image.lasting for image in spec.skipped[before:]):
                    break


def _open_reader(dataset: Dataset | ImageFiles) -> SampleReader | FileReader:
    return SampleReader(dataset, check_bytes=True) if isinstance(dataset, Dataset) else FileReader(dataset)


def _rows_of_batches(spec: _PredictSpec, reader: ImageReader, shard: str) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of a shard by batch: those of equal padded size, a batch as soon as it is full.

    There are few sizes, so few batches stay small: a view of short side 800 and long side up to 1333 pads to fewer
    than 90, whatever the images.
    """
    rows = reader.rows_of(shard)
    if not len(rows):
        return
    waiting: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    padded_R2 = padded_test_sizes(spec.view, reader.image_sizes_R2[rows])
    for row, (height, width) in zip(rows.tolist(), padded_R2.tolist(), strict=True):
        waiting[height, width].append(row)
        if len(waiting[height, width]) == spec.batch_size:
            yield np.array(waiting.pop((height, width)), np.int64)
    for left in waiting.values():
        yield np.array(left, np.int64)


def _batch(
    spec: _PredictSpec,
    graph: SafeGraph[[ViewPlan], Tensor],
    quarantine: Quarantine,
    shard: str,
    rows: npt.NDArray[np.int64],
) -> PredictBatch | None:
    """Return the batch of those of the rows that can be used; None when there is none."""
    reader = quarantine.reader
    while True:
        rows = np.array([row for row in rows.tolist() if row not in quarantine.rows], np.int64)
        if not len(rows):
            return None
        try:
            samples = read_samples(reader, rows)
            plan = plan_test(spec.view, samples.sizes_B2)
            images_BCHW = graph.run(samples, plan)
        except UnreadableBatchError as unreadable:
            spec.skipped.extend(
                SkippedImage(key=reader.keys[row], shard=shard, reason=error.reason, lasting=error.lasting)
                for row, error in quarantine.add(unreadable).items()
            )
            continue
        return PredictBatch(
            rows_B=rows,
            keys=samples.keys,
            image_ids_B=reader.image_ids_R[rows],
            original_sizes_B2=samples.sizes_B2,
            view=View.from_plan(plan, images_BCHW, samples.keys),
            shard=shard,
            plan=plan,
        )
