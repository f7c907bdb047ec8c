"""Batches of a training run, made ahead of it in one background thread.

In: a labeled and an unlabeled data set (either may be missing), maybe the stored labels of the latter, settings,
seed, rank, and where to resume.
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
from typing import Any, Literal

from pipeline.loaders.assembly import RESUME_VERSION, Part, Work, batches
from pipeline.loaders.background import Background
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledTruth
from pipeline.loaders.stored_labels import StoredLabels, require_same_labels
from pipeline.randomness import Purpose
from pipeline.samples.safe_graph import GraphDevice
from pipeline.samples.sample_source import Order, SampleSource
from pipeline.samples.stream import Rounding
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import StoreError


class TrainLoader(Iterator[TrainBatch]):
    """The batches of one rank, in order. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        labeled: Dataset | None,
        unlabeled: Dataset | None,
        *,
        batch_labeled: int = 1,
        batch_unlabeled: int = 4,
        view: ViewSettings | None = None,
        mix: MixSettings | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        window: int = 1024,
        rounding: Rounding = "bernoulli",
        repeat_factors: Mapping[str, float] | None = None,
        unlabeled_repeat_factors: Mapping[str, float] | None = None,
        smallest: int = 32,
        num_steps: int | None = None,
        unlabeled_start_step: int = 0,
        labels: StoredLabels | None = None,
        labels_until: int | None = None,
        start_step: int = 0,
        device: Literal["cpu", "cuda"] = "cpu",
        device_id: int = 0,
        num_threads: int = 1,
        prefetch: int = 2,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the data and start to work.

        Args:
            labeled: its ground truth is read once, here. None: no labeled views.
            unlabeled: only its images are read, never the truth. None: the supervised arm.
            batch_labeled: labeled images a step.
            batch_unlabeled: unlabeled images a step.
            view: geometry and colour of the views; the paper's by default.
            mix: erase, mixup and mosaic; the paper's by default.
            seed: of order and geometry; together with the step it fixes every batch.
            rank: which of the equal shares of the data this process draws.
            world: how many processes draw.
            window: samples are shuffled within windows of this many.
            rounding: how repeat factors become copies, see `SampleStream`.
            repeat_factors: how often a labeled image is drawn an epoch, by key; 1 where not named.
            unlabeled_repeat_factors: the same for unlabeled images.
            smallest: labeled images with a side shorter than this many pixels are left out.
            num_steps: the loader ends before this step; None: never.
            unlabeled_start_step: before this step no unlabeled image is drawn (burn-in).
            labels: of a stored round, in the teacher's place; images without any are not drawn.
            labels_until: the step from which the teacher labels after all; None: never.
            start_step: the first step that is made; those before count as drawn. Mixing begins anew there, so the
                batches are those of a run from step 0 once the cache is full again, as long as every image of the
                steps before can be read. To look at a run; to go on with one there is `resume`.
            device: where DALI works and the tensors lie.
            device_id: which GPU.
            num_threads: threads of each DALI graph.
            prefetch: finished batches that wait for the consumer at most.
            resume: `TrainBatch.resume` of the last batch that was used.

        Raises:
            ValueError: nothing to draw from, a batch size below 1, or a `resume` of another run.
        """
        if labeled is None and unlabeled is None:
            raise StoreError("expected a labeled or an unlabeled data set, got neither")
        if min(batch_labeled, batch_unlabeled) < 1:
            raise StoreError(
                f"batch sizes must be at least 1; got {batch_labeled} labeled, {batch_unlabeled} unlabeled"
            )
        order = Order(seed=seed, rank=rank, world=world, window=window, rounding=rounding)
        if resume is not None:
            _check_resume(resume, order, labeled=labeled is not None, unlabeled=unlabeled is not None)
        truth = None if labeled is None else LabeledTruth(labeled, smallest=smallest)
        self.left_out: dict[str, int] = {} if truth is None else dict(truth.left_out)
        """Images that are not trained on, by reason."""
        if labels is not None:
            self.left_out |= labels.left_out
        if resume is not None:
            require_same_labels(labels, resume["unlabeled"])
        self._sources: dict[Part, SampleSource] = {}
        if labeled is not None and truth is not None:
            self._sources["labeled"] = SampleSource(
                labeled,
                order=order,
                purpose=Purpose.LABELED_ORDER,
                batch_size=batch_labeled,
                rows=truth.rows,
                truth=truth.hash,
                repeat_factors=repeat_factors,
                resume=None if resume is None else resume["labeled"],
            )
        if unlabeled is not None:
            self._sources["unlabeled"] = SampleSource(
                unlabeled,
                order=order,
                purpose=Purpose.UNLABELED_ORDER,
                batch_size=batch_unlabeled,
                rows=None if labels is None else labels.rows,
                truth=b"" if labels is None else labels.hash,
                repeat_factors=unlabeled_repeat_factors,
                resume=None if resume is None else resume["unlabeled"],
            )
        for part, source in self._sources.items():
            source.skip(start_step - (unlabeled_start_step if part == "unlabeled" else 0))
        self._positions = {part: source.position() for part, source in self._sources.items()}
        self._prefetch = prefetch
        work = Work(
            sources=self._sources,
            truth=truth,
            view=view or ViewSettings(),
            mix=mix or MixSettings(),
            order=order,
            engine=GraphDevice(device=device, device_id=device_id, num_threads=num_threads),
            num_steps=num_steps,
            unlabeled_start_step=unlabeled_start_step,
            labels=labels,
            labels_until=labels_until,
            start_step=start_step,
            resume=resume,
        )
        self._background = Background(partial(batches, work), depth=prefetch, name="train-loader")

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
            raise StoreError(f"this loader draws no {part} images, so none can be repeated")
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


def _check_resume(resume: Mapping[str, Any], order: Order, *, labeled: bool, unlabeled: bool) -> None:
    """Refuse a position that another run wrote: its batches would not be the ones that come next."""
    expected = {"version": RESUME_VERSION, "seed": order.seed, "rank": order.rank, "world": order.world}
    found = {name: resume.get(name) for name in expected}
    expected |= {"labeled images": labeled, "unlabeled images": unlabeled}
    found |= {f"{part} images": resume.get(part) is not None for part in ("labeled", "unlabeled")}
    for name, value in expected.items():
        if found[name] != value:
            raise StoreError(
                f"cannot resume: expected {name} {value}, got {found[name]} from the checkpoint; resume with "
                "what it was written with, or start a new run"
            )
