"""Batches of a training run, made ahead of it in one background thread.

In: labeled and unlabeled data (either may be missing), settings of the views and of the order, and where to resume.
Out: one `TrainBatch` a step, for ever or up to `num_steps`.

Guarantees: the batch of a step is a function of (data, labels, settings, seed, rank, world size, step), and of
where the ranks stood when their number changed, bit for bit on the same hardware, whatever the threads do; a
loader resumed after batch t gives the batches t + 1 ... that a never stopped one gives; a bad image is set aside
by name and replaced; an error in the background is raised here; `close`, leaving the `with` block, and Ctrl-C end
the thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from pipeline.graphs.graph import CPU, GraphDevice
from pipeline.loaders.assembly import RESUME_VERSION, LoaderSpec, Part, make_batches
from pipeline.loaders.background import Background
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledData, LabeledTruth
from pipeline.loaders.stored_labels import StoredLabels, require_same_labels
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.randomness import Purpose
from pipeline.samples.sample_source import SampleSource
from pipeline.samples.stream import OrderSettings
from pipeline.settings import ViewSettings
from storage.errors import ConfigError, StoreError


class TrainLoader(Iterator[TrainBatch]):
    """The batches of one rank, in order. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        labeled: LabeledData | None,
        unlabeled: UnlabeledData | None,
        *,
        view: ViewSettings | None = None,
        order: OrderSettings | None = None,
        device: GraphDevice = CPU,
        start_step: int = 0,
        num_steps: int | None = None,
        prefetch: int = 2,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the data and start to work.

        Args:
            labeled: None: no labeled views.
            unlabeled: None: the supervised arm.
            view: geometry and colour of the views; the paper's by default.
            order: seed, and this process's share of the data; together with the step it fixes every batch.
            device: where DALI works and the tensors lie.
            start_step: the first step that is made; those before count as drawn. Mixing begins anew there, so the
                batches are those of a run from step 0 once the cache is full again, as long as every image of the
                steps before can be read. For previews. To continue a run use `resume`.
            num_steps: the loader ends before this step; None: never.
            prefetch: finished batches that wait for the consumer at most.
            resume: `TrainBatch.resume` of the last batch that was used.

        Raises:
            ConfigError: nothing to draw from, or nothing made ahead.
            StoreError: a data set that cannot be trained on, or a `resume` of another run.
        """
        if labeled is None and unlabeled is None:
            raise ConfigError("expected a labeled or an unlabeled data set, got neither")
        order = order or OrderSettings()
        if resume is not None:
            _check_resume(resume, order, labeled=labeled is not None, unlabeled=unlabeled is not None)
            require_same_labels(None if unlabeled is None else unlabeled.labels, resume["unlabeled"])
        truth = None if labeled is None else LabeledTruth(labeled.dataset, min_side=labeled.min_side)
        self.left_out: dict[str, int] = {} if truth is None else dict(truth.left_out)
        """Images that are not trained on, by reason."""
        self._sources: dict[Part, SampleSource] = {}
        if labeled is not None and truth is not None:
            self._sources["labeled"] = _open_source("labeled", labeled, truth, order, resume)
            self._sources["labeled"].advance(start_step)
        if unlabeled is not None:
            self.left_out |= {} if unlabeled.labels is None else unlabeled.labels.left_out
            self._sources["unlabeled"] = _open_source("unlabeled", unlabeled, unlabeled.labels, order, resume)
            self._sources["unlabeled"].advance(start_step - unlabeled.start_step)
        self._positions = {part: source.position() for part, source in self._sources.items()}
        self._prefetch = prefetch
        spec = LoaderSpec(
            sources=self._sources,
            truth=truth,
            unlabeled=unlabeled,
            view=view or ViewSettings(),
            order=order,
            device=device,
            start_step=start_step,
            num_steps=num_steps,
            resume=resume,
        )
        self._background = Background(partial(make_batches, spec), depth=prefetch, name="train-loader")

    def __next__(self) -> TrainBatch:
        """Return the batch of the next step, waiting for it if need be.

        Raises:
            StreamExhaustedError: no image of a data set can be read any more.
            RuntimeError: the loader is closed, or DALI failed on no image in particular.
        """
        began = time.perf_counter()
        batch = self._background.get()
        batch.timings["wait"] = time.perf_counter() - began
        for part in self._sources:
            self._positions[part] = batch.resume[part]
            self._complete(part)
        return batch

    def repeats_by(self, factors: Mapping[str, float], part: Part = "labeled") -> bool:
        """Return whether these are the repeat factors that were asked for last, before a resume or after."""
        return self._sources[part].repeats_by(factors)

    def set_repeat_factors(
        self,
        factors: Mapping[str, float],
        part: Part = "labeled",
        *,
        agree: Callable[[int], int] = lambda earliest: earliest,
    ) -> int:
        """Repeat images by new factors from a coming epoch on, and return that epoch.

        The epoch follows from the last batch taken, not from how far the background is, unless images that it
        found to be bad carried it into a later one. Where several ranks draw, `agree` is given this one's
        earliest epoch and returns the latest of all. The batch's `resume` knows the new factors at once, so a
        checkpoint written after this call carries them.
        """
        if part not in self._sources:
            raise ConfigError(f"this loader draws no {part} images, so none can be repeated")
        # One batch beyond the queue may be in the making.
        epoch = self._sources[part].set_repeat_factors(
            factors, self._positions[part], batches_ahead=self._prefetch + 1, agree=agree
        )
        self._complete(part)
        return epoch

    def unreadable(self, part: Part) -> dict[str, str]:
        """Return what is wrong with the images set aside so far, by key."""
        return self._sources[part].quarantine.report() if part in self._sources else {}

    def waiting(self) -> int:
        """Return how many finished batches wait for the consumer."""
        return self._background.waiting()

    def close(self) -> None:
        """End the background thread and close the shards; may be called again."""
        self._background.close()

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _complete(self, part: Part) -> None:
        position = self._positions[part]
        position["repeat_factors"] = self._sources[part].repeat_factors(position["epoch"])


def _open_source(
    part: Part,
    data: LabeledData | UnlabeledData,
    labels: LabeledTruth | StoredLabels | None,
    order: OrderSettings,
    resume: Mapping[str, Any] | None,
) -> SampleSource:
    """Return the images of one part that have labels; without any, all of them."""
    return SampleSource(
        data.dataset,
        order=order,
        purpose=Purpose.LABELED_ORDER if part == "labeled" else Purpose.UNLABELED_ORDER,
        batch_size=data.batch_size,
        rows=None if labels is None else labels.rows,
        truth=b"" if labels is None else labels.hash,
        repeat_factors=data.repeat_factors,
        resume=None if resume is None else resume[part],
        check_bytes=data.check_bytes,
    )


def _check_resume(resume: Mapping[str, Any], order: OrderSettings, *, labeled: bool, unlabeled: bool) -> None:
    """Refuse a position that another run wrote: its batches would not be the ones that come next."""
    expected = {"version": RESUME_VERSION, "seed": order.seed, "rank": order.rank, "world": order.world}
    written = {name: resume.get(name) for name in expected}
    expected |= {"labeled images": labeled, "unlabeled images": unlabeled}
    written |= {f"{part} images": resume.get(part) is not None for part in ("labeled", "unlabeled")}
    for name, value in expected.items():
        if written[name] != value:
            raise StoreError(
                f"cannot resume: expected {name} {value}, got {written[name]} from the checkpoint; resume with "
                "what it was written with, or start a new run"
            )
