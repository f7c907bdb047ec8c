"""The labeled side of a batch: truth read once, views and targets made step by step.

In: a labeled data set. Out: for each step a view with its targets in view pixels. Images that teach
nothing, or cannot be trusted, are left out of the order (without boxes, or with a side too short), and
counted.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.graphs.views import LabeledViews
from pipeline.loaders.batch import View
from pipeline.plans import move_boxes as boxes
from pipeline.plans.view_plans import plan_labeled
from pipeline.randomness import Purpose, generator
from pipeline.samples.safe_graph import GraphDevice, SafeGraph, Samples
from pipeline.samples.sample_source import Order, SampleSource
from pipeline.settings import ViewSettings
from pipeline.timing import Stopwatch
from storage.dataset.dataset import Dataset
from storage.labels import Labels
from storage.tables.label_table import table_labels
from storage.tables.list_columns import row_numbers

LOG = logging.getLogger(__name__)


class LabeledTruth:
    """The ground truth of a labeled data set, and which of its images are trained on."""

    def __init__(self, dataset: Dataset, *, smallest: int) -> None:
        """Read every label table of the set; crowd regions are no training labels.

        Raises ValueError when no image is left to train on.
        """
        table = dataset.ground_truth().read_all(columns=["key", "boxes", "categories", "scores"])
        self._labels = table_labels(table)
        images = dataset.images()
        self._places_R = row_numbers(images["key"], table["key"])
        short_R = np.minimum(images["width"].to_numpy(), images["height"].to_numpy()) < smallest
        counts_R = np.append(self._labels.counts(), 0)[self._places_R]  # place -1: no row, so no boxes
        self.rows = np.flatnonzero((counts_R > 0) & ~short_R)
        self.hash = _hash(self._labels, self._places_R, self.rows)
        """Of every label and of the rows that are trained on."""
        self.left_out = {
            "without boxes": int((counts_R == 0).sum()),
            f"smaller than {smallest} px": int((short_R & (counts_R > 0)).sum()),
        }
        reasons = ", ".join(f"{count} {why}" for why, count in self.left_out.items() if count)
        if not len(self.rows):
            raise ValueError(
                f"no image of {dataset.root} can be trained on: of {len(images)} images, "
                f"{reasons or 'none is there'}; check the annotations, or lower the smallest size"
            )
        if reasons:
            LOG.info("%s: %d labeled images, left out: %s", dataset.name, len(self.rows), reasons)

    def of(self, rows: npt.NDArray[np.int64]) -> Labels:
        """Return the labels of rows of the image table, in pixels of the original images."""
        return Labels.concatenate([self._labels.image(self._places_R[row]) for row in rows])


def _hash(labels: Labels, places_R: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> bytes:
    digest = hashlib.sha256()
    for values in (labels.boxes_N4, labels.categories_N, labels.offsets_B1, places_R, rows):
        digest.update(values.tobytes())
    return digest.digest()


class LabeledSide:
    """Makes the labeled view of each step; lives in the background thread."""

    def __init__(
        self,
        source: SampleSource,
        truth: LabeledTruth,
        *,
        settings: ViewSettings,
        order: Order,
        engine: GraphDevice,
    ) -> None:
        self._source, self._truth, self._settings = source, truth, settings
        self._order = order

        def make() -> LabeledViews:
            return LabeledViews(
                settings,
                batch_size=source.batch_size,
                num_threads=engine.num_threads,
                device=engine.device,
                device_id=engine.device_id,
            )

        self._graph = SafeGraph(make, source.reader, engine)

    def batch(self, step: int, watch: Stopwatch) -> View:
        """Return the labeled view of a step."""

        def execute(graph: LabeledViews, samples: Samples) -> tuple[Any, Tensor]:
            rng = generator(self._order.seed, step, self._order.rank, Purpose.LABELED_VIEW)
            plan = plan_labeled(rng, self._settings, samples.sizes_B2)
            return plan, graph.run(samples.encoded, plan)

        samples, (plan, images_BCHW) = self._source.draw(self._graph, execute, watch)
        targets = boxes.project(self._truth.of(samples.rows), plan.box_matrices_B33, plan.sizes_B2)
        return View(
            images_BCHW=images_BCHW, sizes_B2=size_pairs(plan.sizes_B2), keys=samples.keys, targets=targets
        )


def size_pairs(sizes_B2: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return sizes as plain (height, width) pairs."""
    return [(int(height), int(width)) for height, width in sizes_B2]
