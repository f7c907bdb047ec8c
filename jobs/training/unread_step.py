"""A step that was taken and whose numbers are still on the device.

In: the losses of its batches, the gradient's norm, and what the ranks said in the exchange. Out: the step's report,
or the error that made it void. Guaranteed: one copy brings all of it to the host, however many batches and parts;
a step whose report is an error has changed no weight of the student (`model/method/weight_update.py`). Its teacher
may have followed the student once more, of which no checkpoint is written.

Shapes: P loss parts of all batches, W ranks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jobs.run.ranks import RankFailedError
from jobs.run.step_report import BatchReport, StepReport
from jobs.training.batch_losses import BatchLosses, NonFiniteLossError
from jobs.training.gradients import Agreement
from jobs.training.late_numbers import LateNumbers


class UnreadStep:
    """What a step will tell."""

    def __init__(
        self,
        step: int,
        losses: Sequence[BatchLosses],
        *,
        norm: Tensor,
        learning_rate: float,
        agreement: Agreement,
        thresholds: tuple[float, ...],
    ) -> None:
        self.step = step
        self.batches = [batch_losses.batch for batch_losses in losses]
        self._losses, self._agreement = losses, agreement
        self._learning_rate, self._thresholds = learning_rate, thresholds
        parts = [batch_losses.all_values() for batch_losses in losses]
        self._numbers = LateNumbers(torch.cat([norm[None], agreement.flags, *parts]))

    @property
    def must_be_read_now(self) -> bool:
        """Whether what the other ranks said, or that this one was asked to stop, decides what comes next."""
        return bool(len(self._agreement.flags)) or self._agreement.stop

    def read(self) -> StepReport:
        """Return the figures. Raises NonFiniteLossError, or RankFailedError naming the first rank that failed."""
        norm, *rest = self._numbers.read()
        num_flags = len(self._agreement.flags)
        batches = self._batch_reports(rest[num_flags:])
        stop = self._agreement.stop
        if num_flags:
            failed, stop = self._agreement.read(rest[:num_flags])
            if self._agreement.rank in failed:
                raise NonFiniteLossError(f"the gradient is not finite on images {self._images()}")
            if failed:
                raise RankFailedError(failed[0])
        if not math.isfinite(norm):
            raise NonFiniteLossError(f"the gradient is {norm} on images {self._images()}")
        return StepReport(
            step=self.step,
            batches=batches,
            thresholds=self._thresholds,
            gradient_norm=norm,
            learning_rate=self._learning_rate,
            stop=stop,
        )

    def _batch_reports(self, values: Sequence[float]) -> tuple[BatchReport, ...]:
        parts = iter(values)
        return tuple(
            batch_losses.report(list(itertools.islice(parts, len(batch_losses.all_values()))))
            for batch_losses in self._losses
        )

    def _images(self) -> str:
        return ", ".join(key for batch_losses in self._losses for key in batch_losses.image_keys())
