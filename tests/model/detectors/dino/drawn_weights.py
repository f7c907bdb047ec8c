"""Weights that are drawn, not stored: the same for the recording and for the test that replays it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def draw_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return a value for every name of our network, large enough that every part of it matters."""
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(_draw(rng, name, shapes[name])) for name in sorted(shapes)}


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return (1 + 0.3 * np.tanh(drawn)).astype(np.float32)
    if len(shape) == 1:
        centre = 1.0 if name.endswith("weight") else 0.0  # of a norm
        return (centre + 0.3 * drawn).astype(np.float32)
    if len(shape) == 4:
        return (drawn * np.sqrt(1.5 / np.prod(shape[1:]))).astype(np.float32)
    return (drawn / np.sqrt(shape[-1])).astype(np.float32)
