"""States of runs, held against one another bit for bit."""

from __future__ import annotations

import torch


def assert_same(first: object, second: object) -> None:
    """Compare nested containers of tensors and plain values."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()  # type: ignore[union-attr]
        for key in first:
            assert_same(first[key], second[key])  # type: ignore[index]
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):  # type: ignore[call-overload]
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)  # type: ignore[arg-type]
    else:
        assert first == second
