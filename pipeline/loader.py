"""Batches of a training run, made ahead of it in one background thread.

In: a labeled and an unlabeled data set (either may be missing), settings, seed, rank, and where to resume. Out:
one `TrainBatch` a step, for ever or up to `num_steps`.

Guarantees: the batch of a step is a function of (data, settings, seed, rank, world size, step), bit for bit on
the same hardware, whatever the threads do; a loader resumed after batch t gives the batches t + 1 ... that a
never stopped one gives; a bad image is set aside by name and replaced; an error in the background is raised
here; `close`, leaving the `with` block, and Ctrl-C end the thread.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal

from pipeline.background import Background
from pipeline.batch import TrainBatch
from pipeline.decoding import Device
from pipeline.labeled import LabeledSide, LabeledTruth
from pipeline.randomness import Purpose
from pipeline.settings import MixSettings, ViewSettings
from pipeline.source import SampleSource
from pipeline.stream import Rounding
from pipeline.timing import Stopwatch
from pipeline.unlabeled import UnlabeledSide
from storage.dataset import Dataset

Part = Literal["labeled", "unlabeled"]
RESUME_VERSION = 1


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
        device: Device = "cpu",
        device_id: int = 0,
        num_threads: int = 1,
        prefetch: int = 2,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the data and start to work.

        Args:
            labeled: its ground truth is read once, here. None: no labeled views.
            unlabeled: only its images are read, never a label. None: the supervised arm.
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
            device: where DALI works and the tensors lie, "cpu" or "cuda".
            device_id: which GPU.
            num_threads: threads of each DALI graph.
            prefetch: finished batches that wait for the consumer at most.
            resume: `TrainBatch.resume` of the last batch that was used.

        Raises:
            ValueError: nothing to draw from, a batch size below 1, or a `resume` of another run.
        """
        if labeled is None and unlabeled is None:
            raise ValueError("expected a labeled or an unlabeled data set, got neither")
        if min(batch_labeled, batch_unlabeled) < 1:
            raise ValueError(f"batch sizes must be at least 1; got {batch_labeled} labeled, {batch_unlabeled} unlabeled")
        view, mix = view or ViewSettings(), mix or MixSettings()
        identity = {"version": RESUME_VERSION, "seed": seed, "rank": rank, "world": world}
        if resume is not None:
            _check_resume(resume, identity, labeled=labeled is not None, unlabeled=unlabeled is not None)
        of_streams: dict[str, Any] = {"seed": seed, "rank": rank, "world": world, "window": window, "rounding": rounding}
        of_sides: dict[str, Any] = {
            "seed": seed,
            "rank": rank,
            "num_threads": num_threads,
            "device": device,
            "device_id": device_id,
        }
        truth = None if labeled is None else LabeledTruth(labeled, smallest=smallest)
        self._sources: dict[Part, SampleSource] = {}
        if labeled is not None and truth is not None:
            self._sources["labeled"] = SampleSource(
                labeled,
                rows=truth.rows,
                batch_size=batch_labeled,
                purpose=Purpose.LABELED_ORDER,
                repeat_factors=repeat_factors,
                resume=resume and resume["labeled"],
                **of_streams,
            )
        if unlabeled is not None:
            self._sources["unlabeled"] = SampleSource(
                unlabeled,
                rows=None,
                batch_size=batch_unlabeled,
                purpose=Purpose.UNLABELED_ORDER,
                repeat_factors=unlabeled_repeat_factors,
                resume=resume and resume["unlabeled"],
                **of_streams,
            )
        self.left_out: dict[str, int] = {} if truth is None else truth.left_out
        """Labeled images that are not trained on, by reason."""
        self._prefetch = prefetch
        self._last: dict[str, Any] = ...
