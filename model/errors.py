"""The errors of `model` that are not ours: what a user asked of a detector or of the method cannot be.

    ModelError           a name or a number that cannot be
    ├── WeightsError     pretrained weights that cannot be had or do not fit
    └── TorchFileError   a file of torch.save that is damaged or holds more than plain values

`model` imports no other folder, so these stand apart from the tree of `storage.errors`; the jobs turn them into
errors of that tree. A call of ours that makes no sense stays a ValueError. No torch is imported here: the command
line knows these errors before it knows which verb needs torch.
"""

from __future__ import annotations


class ModelError(Exception):
    """A name or a number that was asked of a detector or of the method cannot be."""


class WeightsError(ModelError):
    """Pretrained weights cannot be had, or do not fit the detector."""


class TorchFileError(ModelError):
    """A file of torch.save is damaged, or holds more than tensors and plain values."""
