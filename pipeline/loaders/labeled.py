"""The labeled side of a batch: truth read once, views and targets made step by step.

In: a labeled data set. Out: for each step a view with its targets in view pixels. Images that teach
nothing, or cannot be trusted, are left out of the order (without boxes, or with a side too short), and
counted. An image that cannot be read or decoded is set aside by name, and the batch is drawn again without it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.graphs.graph import GraphDevice
from pipeline.graphs.views import LabeledViews
from pipeline.loaders.batch import View
from pipeline.plans import move_boxes as boxes
from pipeline.plans.view_plans import ViewPlan, plan_labeled
from pipeline.randomness import Purpose, generator
from pipeline.samples.reader import Samples, UnreadableBatchError, read_samples
from pipeline.samples.safe_graph import SafeGraph
from pipeline.samples.sample_source import SampleSource
from pipeline.samples.stream import OrderSettings
from pipeline.settings import ViewSettings
from pipeline.timing import Stopwatch
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.labels import Labels
from storage.tables.label_table import table_labels
from storage.tables.row_index import RowIndex

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledData:
    """The labeled images of a run, and how they are drawn."""

    dataset: Dataset
    """Its ground truth is read once, when the loader is made."""
    batch_size: int = 1
    """Labeled images a step."""
    repeat_factors: Mapping[str, float] | None = None
    """How often an image is drawn an epoch, by key; 1 where not named."""
    min_side: int = 32
    """Images with a side shorter than this many pixels are left out."""
    check_bytes: bool = False
    """Whether each image is held against its sha256 when it is read."""

    def __post_init__(self) -> None:
        """Refuse batches without an image."""
        if self.batch_size < 1:
            raise ConfigError(f"expected batch sizes of at least 1, got {self.batch_size} labeled images")


class LabeledTruth:
    """The ground truth of a labeled data set, and which of its images are trained on."""

    def __init__(self, dataset: Dataset, *, min_side: int) -> None:
        """Read every label table of the set; crowd regions are no training labels.

        Raises StoreError when no image is left to train on.
        """
        table = dataset.ground_truth().read_all(columns=["key", "boxes", "categories", "scores"])
        self._labels = table_labels(table)
        images = dataset.images()
        self._label_rows_R = RowIndex(table["key"]).rows(images["key"])
        short_R = np.minimum(images["width"].to_numpy(), images["height"].to_numpy()) < min_side
        # An image without a row of labels has row -1, the zero appended here: no boxes.
        counts_R = np.append(self._labels.counts(), 0)[self._label_rows_R]
        self.rows = np.flatnonzero((counts_R > 0) & ~short_R)
        self.hash = _hash(self._labels, self._label_rows_R, self.rows)
        """Of every label and of the rows that are trained on."""
        self.left_out = {
            "without boxes": int((counts_R == 0).sum()),
            f"smaller than {min_side} px": int((short_R & (counts_R > 0)).sum()),
        }
        reasons = ", ".join(f"{count} {why}" for why, count in self.left_out.items() if count)
        if not len(self.rows):
            raise StoreError(
                f"expected images to train on, got none in {dataset.root}: of {len(images)} images, "
                f"{reasons or 'none is there'}; check the annotations, or allow shorter sides"
            )
        if reasons:
            LOG.info("%s: %d labeled images, left out: %s", dataset.name, len(self.rows), reasons)

    def labels_of(self, rows: npt.NDArray[np.int64]) -> Labels:
        """Return the labels of rows of the image table, in pixels of the original images."""
        return Labels.concatenate([self._labels.image(self._label_rows_R[row]) for row in rows])


def _hash(labels: Labels, label_rows_R: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> bytes:
    digest = hashlib.sha256()
    for values in (labels.boxes_N4, labels.categories_N, labels.offsets_B1, label_rows_R, rows):
        digest.update(values.tobytes())
    return digest.digest()


class LabeledSide:
    """Makes the labeled view of each step; lives in the background thread."""

    def __init__(
        self,
        source: SampleSource,
        truth: LabeledTruth,
        *,
        view: ViewSettings,
        order: OrderSettings,
        device: GraphDevice,
    ) -> None:
        self._source, self._truth = source, truth
        self._settings, self._order = view, order
        self._graph = SafeGraph(
            LabeledViews, view, source.reader, batch_size=source.batch_size, device=device
        )

    def batch(self, step: int, watch: Stopwatch) -> View:
        """Return the labeled view of a step."""
        while True:
            rows, after = self._source.draw()
            try:
                with watch.measure("read"):
                    samples = read_samples(self._source.reader, rows)
                with watch.measure("views"):
                    plan = self._plan(step, samples)
                    images_BCHW = self._graph.run(samples, plan)
            except UnreadableBatchError as unreadable:
                self._source.quarantine.add(unreadable)
                continue
            self._source.state = after
            targets = boxes.project(self._truth.labels_of(rows), plan.box_matrices_B33, plan.sizes_B2)
            return View.from_plan(plan, images_BCHW, samples.keys, targets)

    def _plan(self, step: int, samples: Samples) -> ViewPlan:
        rng = generator(self._order.seed, step, self._order.rank, Purpose.LABELED_VIEW)
        return plan_labeled(rng, self._settings, samples.sizes_B2)
