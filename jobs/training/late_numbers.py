"""Numbers on their way from the device to the host, read once they are needed.

In: a tensor on any device. Out: its values as floats, later. Guaranteed: nothing waits before `read`, and `read`
waits only where the device is not so far yet. From a GPU the copy goes to pinned memory in the order of the stream,
so whatever the host waits for after it (the teacher's labels of the next batch) has it arrive on the way.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LateNumbers:
    """A vector of float32 that will be read on the host."""

    def __init__(self, values_N: Tensor) -> None:
        self._values_N, self._arrived = values_N, None
        if values_N.device.type == "cuda":
            self._values_N = torch.empty(values_N.shape, dtype=values_N.dtype, pin_memory=True)
            self._values_N.copy_(values_N, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(values_N.device))

    def read(self) -> list[float]:
        """Return the numbers, waiting for the device where it has not come to them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[float] = self._values_N.tolist()
        return values
