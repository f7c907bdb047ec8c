"""One exchange a step between the processes that train: the mean gradient, and whether all is well.

In: the gradients that this rank's backward passes left, their losses, the error that kept it from taking them, and
whether it was asked to stop. Out: the mean gradient over all ranks in every parameter, the same bits on each; and
what each rank said, on the device, so that no one waits to hear it.

Ranks do not run the same passes: one without pseudo labels has no unsupervised loss, one whose data are gone has
no batch at all. So nothing is exchanged while a rank computes; then each takes part in exactly one sum, whatever
became of it. One flat buffer, made once, holds all gradients (zeros where a parameter has none), a place for each
rank to say that it failed, and one for those that were asked to stop.

Shapes: P loss parts, W ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.run.ranks import Ranks


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """What came of an exchange, as far as it is known without waiting for the device."""

    rank: int
    flags: Tensor
    """On the device, (W + 1,): which ranks failed, and last how many were asked to stop; (0,) for one alone."""
    void: Tensor
    """On the device, a bool: a loss part is not finite, or a rank failed, and the step must change nothing."""
    stop: bool
    """Whether this rank was asked to stop."""

    @staticmethod
    def read(flags: Sequence[float]) -> tuple[list[int], bool]:
        """Return the ranks that failed, and whether any was asked to stop, from the flags on the host."""
        *failures, stops = flags
        return [rank for rank, count in enumerate(failures) if count], bool(stops)


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

    def exchange(self, error: Exception | None, losses: Sequence[Tensor], *, stop: bool) -> Agreement:
        """Take the mean over all ranks, and return what they said. Raises this rank's `error`.

        `losses`: the loss parts (P,) of each batch; none where there is an error. A rank whose losses or gradient
        are not finite has failed too, which the device finds out.
        """
        if self._ranks.world_size == 1:
            if error is not None:
                raise error
            void = _any_not_finite(losses)
            return Agreement(rank=0, flags=self._parameters[0].new_empty(0), void=void, stop=stop)
        flags = self._agree(losses, failed=error is not None, stop=stop)
        if error is not None:
            raise error
        return Agreement(rank=self._ranks.rank, flags=flags, void=(flags[:-1] > 0).any(), stop=stop)

    def _agree(self, losses: Sequence[Tensor], *, failed: bool, stop: bool) -> Tensor:
        gradient, flags = self._flat[: self._size], self._flat[self._size :]
        if failed:
            gradient.zero_()  # what it holds may be no number
            flags[self._ranks.rank] = 1.0
        else:
            low, high = torch.aminmax(gradient)  # NaN passes through
            flags[self._ranks.rank] = _any_not_finite([*losses, (high - low)[None]])
        flags[-1] = float(stop)
        self._ranks.all_reduce(self._flat)
        gradient /= self._ranks.world_size
        return flags.clone()

    def _as_views(self) -> list[Tensor]:
        views, start = [], 0
        for parameter in self._parameters:
            assert parameter.dtype == self._flat.dtype, "one buffer holds one kind of number"
            # The parameter's own memory layout (channels-last), which fused optimisers expect.
            views.append(self._flat.as_strided(parameter.size(), parameter.stride(), start))
            start += parameter.numel()
        return views


def _any_not_finite(values: Sequence[Tensor]) -> Tensor:
    return ~torch.cat(list(values)).isfinite().all()
