"""The label cache: first in, first out, and the same after a checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.loaders.batch import LabelCache
from storage.errors import StoreError
from storage.labels import Labels


def image(number: int, num_boxes: int) -> Labels:
    """One image whose boxes tell its number."""
    boxes = np.arange(num_boxes)[:, None] + np.array([0, 0, 1, 1]) + number
    return Labels.of_image(boxes, np.full(num_boxes, number % 5))


def numbers(cache: LabelCache) -> list[tuple[int, int]]:
    labels = cache.take(range(len(cache)))
    return [
        (int(one.boxes_N4[0, 0]) if len(one.boxes_N4) else -1, len(one.boxes_N4))
        for one in (labels.image(index) for index in range(len(labels)))
    ]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), max_size=6))
def test_the_cache_is_the_last_images_of_a_plain_list(capacity: int, steps: list[list[int]]) -> None:
    cache = LabelCache(capacity)
    plain: list[tuple[int, int]] = []
    for counts in steps:
        start = 10 * len(plain)
        cache.push(Labels.concatenate([image(start + 10 * i, count) for i, count in enumerate(counts)]))
        plain += [(start + 10 * i if count else -1, count) for i, count in enumerate(counts)]
        assert numbers(cache) == plain[-capacity:]


def test_positions_are_taken_in_the_order_asked_for() -> None:
    cache = LabelCache(3)
    cache.push(Labels.concatenate([image(number, 2) for number in (0, 10, 20, 30)]))
    taken = cache.take(np.array([2, 0]))
    assert taken.boxes_N4[:, 0].tolist() == [30, 31, 10, 11]
    assert taken.counts().tolist() == [2, 2]


def test_a_position_beyond_the_contents_is_refused() -> None:
    cache = LabelCache(8)
    cache.push(image(0, 1))
    with pytest.raises(ValueError, match="holds 1 of 8 images"):
        cache.take([1])


def test_the_state_survives_a_checkpoint_of_weights_only() -> None:
    cache, other = LabelCache(4), LabelCache(4)
    cache.push(Labels.concatenate([image(0, 2), image(10, 0), image(20, 1)]))
    file = io.BytesIO()
    torch.save(cache.state_dict(), file)
    cache.push(image(30, 3))  # the state is a copy, not a view
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert numbers(other) == [(0, 2), (-1, 0), (20, 1)]
    other.push(Labels.concatenate([image(40, 1), image(50, 1)]))
    assert numbers(other) == [(-1, 0), (20, 1), (40, 1), (50, 1)]
    with pytest.raises(StoreError, match="at most 2"):
        LabelCache(2).load_state_dict(cache.state_dict())
