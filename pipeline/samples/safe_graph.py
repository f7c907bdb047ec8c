"""Running a DALI graph on images that may turn out to be undecodable.

In: the bytes of a batch's images and their plans. Out: what the graph makes of them, or `UnreadableBatchError` with
one named error for every image that cannot be decoded. One such image kills a DALI pipeline and is often not named
by it, so the batch is then run image by image and the graph made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from pipeline.graphs.graph import GraphDevice
from pipeline.graphs.views import PredictViews, Views
from pipeline.plans.view_plans import plan_test
from pipeline.samples.reader import ImageReader, Samples, SampleUnreadableError, UnreadableBatchError
from pipeline.settings import ViewSettings

P = ParamSpec("P")
T = TypeVar("T")

_PROBE = ViewSettings(test_short=32, test_long_max=32)
_NOT_THE_IMAGE = ("out of memory", "CUDA runtime API error", "CUDA driver API error", "Can't allocate")
"""Where a message of DALI says this, the machine is at fault and no image must be blamed."""


class SafeGraph(Generic[P, T]):
    """Views that survive bad images: the images are named, and the graph is made anew.

    Making it anew takes about 50 ms for views with colour operations, 10 ms for those without.
    """

    def __init__(
        self,
        kind: Callable[..., Views[P, T]],
        settings: ViewSettings,
        reader: ImageReader,
        *,
        batch_size: int,
        device: GraphDevice,
    ) -> None:
        """`kind` is the class of the views; `reader` names the images."""
        self._make = partial(kind, settings, batch_size=batch_size, device=device)
        self._views = self._make()
        self._reader, self._device = reader, device

    def run(self, samples: Samples, *plans: P.args, **named_plans: P.kwargs) -> T:
        """Return the views of the samples by these plans.

        Raises UnreadableBatchError naming the images that fail alone. A failure that no single image
        explains is tried once more, then raised as RuntimeError with the keys of the batch.
        """
        try:
            return self._views.run(samples.encoded, *plans, **named_plans)
        except RuntimeError as first:
            self._views = self._make()
            errors = self._failures(samples)
            if errors:
                raise UnreadableBatchError(errors) from first
        try:
            return self._views.run(samples.encoded, *plans, **named_plans)
        except RuntimeError as second:
            raise RuntimeError(
                f"{self._reader.name}: the images {', '.join(samples.keys)} fail together, though each "
                f"alone can be decoded: {_gist(second)}"
            ) from second

    def _failures(self, samples: Samples) -> list[SampleUnreadableError]:
        """Return the images that cannot be decoded alone."""
        errors = []
        probe = self._probe()
        for index, row in enumerate(samples.rows.tolist()):
            plan = plan_test(_PROBE, samples.sizes_B2[index : index + 1])
            try:
                probe.run([samples.encoded[index]], plan)
            except RuntimeError as error:
                if any(sign in str(error) for sign in _NOT_THE_IMAGE):
                    raise
                errors.append(self._reader.undecodable(row, samples.encoded[index], _gist(error)))
                probe = self._probe()  # the error killed the graph
        return errors

    def _probe(self) -> PredictViews:
        return PredictViews(_PROBE, batch_size=1, device=replace(self._device, num_threads=1))


def _gist(error: RuntimeError) -> str:
    """Return the line of a DALI message that says what is wrong; the rest is a stack trace."""
    message = str(error).rpartition("encountered:")[2]
    lines = [line.strip(" :") for line in message.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
