"""Queries and true boxes are paired as cheaply as can be."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from model.detectors.dino.assignment import Truth, match, pair_costs
from tests.model.detectors.dino.conftest import make_truth

NUM_LAYERS, NUM_QUERIES = 2, 5


def said(num_queries: int = NUM_QUERIES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(NUM_LAYERS, 2, num_queries, 3, generator=generator)
    boxes = 0.2 + 0.5 * torch.rand(NUM_LAYERS, 2, num_queries, 4, generator=generator)
    return logits, boxes


def test_no_other_pairing_is_cheaper(truth: Truth) -> None:
    logits, boxes = said()
    costs = pair_costs(logits, boxes, truth)
    pairs = match(logits, boxes, truth)
    for layer in range(NUM_LAYERS):
        first = pairs.images_LP[layer] == 0
        cost = costs[layer, pairs.queries_LP[layer][first], pairs.truths_LP[layer][first]].sum().item()
        cheapest = min(
            sum(costs[layer, query, true].item() for true, query in enumerate(queries))
            for queries in permutations(range(NUM_QUERIES), 3)
        )
        assert cost == pytest.approx(cheapest, abs=1e-5)


def test_a_true_box_is_paired_within_its_image_and_once_in_each_layer(truth: Truth) -> None:
    pairs = match(*said(), truth)
    for layer in range(NUM_LAYERS):
        assert sorted(pairs.truths_LP[layer].tolist()) == [0, 1, 2, 3]
        assert torch.equal(pairs.images_LP[layer], truth.images_T[pairs.truths_LP[layer]])
        places = list(zip(pairs.images_LP[layer].tolist(), pairs.queries_LP[layer].tolist(), strict=True))
        assert len(set(places)) == 4


def test_of_more_boxes_than_queries_as_many_are_paired_as_there_are_queries() -> None:
    pairs = match(*said(num_queries=2), make_truth(4, 1))
    assert pairs.queries_LP.shape == (NUM_LAYERS, 3)


def test_predictions_that_are_not_numbers_are_paired_all_the_same(truth: Truth) -> None:
    logits, boxes = said()
    logits[0, 0], boxes[1, 0] = float("nan"), float("inf")
    assert match(logits, boxes, truth).queries_LP.shape == (NUM_LAYERS, 4)


def test_all_layers_and_images_cross_to_the_host_at_once(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed, to_host = [], Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: crossed.append(tensor.shape) or to_host(tensor))
    match(*said(), truth)
    assert crossed == [(NUM_LAYERS, NUM_QUERIES, 4)]


def test_without_any_box_there_is_no_pair() -> None:
    assert match(*said(), make_truth(0, 0)).queries_LP.shape == (NUM_LAYERS, 0)
