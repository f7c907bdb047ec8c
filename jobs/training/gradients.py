"""One exchange a step between the processes that train: the mean gradient, and whether all is well.

In: the gradients that this rank's backward passes left, the error that kept it from taking them, and whether it was
asked to stop. Out: the mean gradient over all ranks in every parameter, the same bits on each.

Ranks do not run the same passes: one without pseudo labels has no unsupervised loss, one whose data are gone has
no batch at all. So nothing is exchanged while a rank computes; then each takes part in exactly one sum, whatever
became of it. One flat buffer, made once, holds all gradients (zeros where a parameter has none), a place for each
rank to say that it failed, and one for those that were asked to stop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jobs.run.ranks import RankFailedError, Ranks


class GradientExchange:
    """The gradients of the learning parameters; those of many ranks become their mean."""

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._ranks = ranks
        if ranks.world_size == 1:
            return
        self._size = sum(parameter.numel() for parameter in self._parameters)
        self._flat = self._parameters[0].new_zeros(self._size + ranks.world_size + 1)
        self._views = self._as_views()

    def clear(self) -> None:
        """Forget the gradients of the last step, before the first backward pass of this one."""
        if self._ranks.world_size == 1:
            for parameter in self._parameters:
                parameter.grad = None
            return
        self._flat.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view  # autograd adds to it in place

    def is_finite(self) -> bool:
        """Return whether this rank's own gradient may be shared; alone, the norm is looked at instead."""
        if self._ranks.world_size == 1:
            return True
        low, high = torch.aminmax(self._flat)  # NaN passes through
        return math.isfinite(float(high - low))

    def exchange(self, error: Exception | None, *, stop: bool) -> bool:
        """Take the mean over all ranks; return whether any of them was asked to stop.

        Raises this rank's `error`, or else RankFailedError naming the first rank that has one.
        """
        if self._ranks.world_size > 1:
            failed, stop = self._agree(failed=error is not None, stop=stop)
            if error is None and failed:
                raise RankFailedError(failed[0])
        if error is not None:
            raise error
        return stop

    def _agree(self, *, failed: bool, stop: bool) -> tuple[list[int], bool]:
        if failed:
            self._flat.zero_()  # what it holds may be no number
        self._flat[self._size + self._ranks.rank] = float(failed)
        self._flat[-1] = float(stop)
        self._ranks.all_reduce(self._flat)
        *failures, stops = self._flat[self._size :].tolist()
        self._flat[: self._size] /= self._ranks.world_size
        return [rank for rank, count in enumerate(failures) if count], bool(stops)

    def _as_views(self) -> list[Tensor]:
        views, start = [], 0
        for parameter in self._parameters:
            assert parameter.dtype == self._flat.dtype, "one buffer holds one kind of number"
            # The parameter's own memory layout (channels-last), which fused optimisers expect.
            views.append(self._flat.as_strided(parameter.size(), parameter.stride(), start))
            start += parameter.numel()
        return views
