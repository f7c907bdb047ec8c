"""Denoising queries: near and far copies of true boxes, in groups that do not see each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert

from model.detectors.dino.assignment import Truth
from model.detectors.dino.denoising import Denoising, DenoisingQueries
from tests.model.detectors.dino.conftest import make_truth

NUM_CLASSES = 3


def make_queries(truth: Truth, num_positives: int = 12) -> DenoisingQueries:
    torch.manual_seed(0)
    denoising = Denoising(num_classes=NUM_CLASSES, channels=8, num_positives=num_positives)
    queries: DenoisingQueries = denoising(truth, denoising.draw_noise(truth))
    return queries


def moves_of_sides(queries: DenoisingQueries, truth: Truth, *, negative: bool) -> Tensor:
    """Return how far the corners of the queries of one kind lie from their true box, in sides of it.

    Sides that moved past each other leave a query of no extent, whose corners say nothing: these are left out.
    """
    pairs, step = queries.assignment, max(truth.counts_B) if negative else 0
    boxes = queries.references_BN4[pairs.images_LP[0], pairs.queries_LP[0] + step]
    true = truth.shares_T4[pairs.truths_LP[0]]
    corners, true_corners = (box_convert(values, "cxcywh", "xyxy") for values in (boxes, true))
    moves = (corners - true_corners).abs() / true[:, 2:].repeat(1, 2)
    return moves[(boxes[:, 2:] > 0.002).all(dim=1)]


def test_positive_queries_move_by_less_than_half_a_side_and_negative_ones_by_half_to_a_whole(
    truth: Truth,
) -> None:
    queries = make_queries(truth)
    positive = moves_of_sides(queries, truth, negative=False)
    negative = moves_of_sides(queries, truth, negative=True)
    assert len(positive) == 4 * queries.num_groups
    assert len(negative) > 4
    assert positive.max() < 0.5 + 1e-3
    assert positive.mean() > 0.15
    assert negative.min() > 0.5 - 1e-3
    assert negative.max() < 1 + 1e-3


def test_the_image_with_most_boxes_decides_the_number_of_groups(truth: Truth) -> None:
    queries = make_queries(truth)
    assert queries.num_groups == 12 // 3
    assert queries.references_BN4.shape == (2, 2 * 4 * 3, 4)
    crowd = make_queries(make_truth(20, 1))
    assert crowd.num_groups == 1
    assert crowd.references_BN4.shape == (2, 2 * 20, 4)


def test_groups_do_not_see_each_other_and_matched_queries_see_none_of_them(truth: Truth) -> None:
    blocked = make_queries(truth).blocked(num_matched=5)
    assert blocked.shape == (29, 29)
    group = torch.arange(24) // 6
    assert torch.equal(blocked[:24, :24], group[:, None] != group)
    assert not blocked[:, 24:].any()
    assert blocked[24:, :24].all()


def test_about_a_quarter_of_the_classes_is_drawn_anew() -> None:
    truth = make_truth(1)
    denoising = Denoising(num_classes=1000, channels=1, num_positives=2000)
    denoising.class_embedding.weight.data = torch.arange(1000.0)[:, None]
    torch.manual_seed(0)
    classes = denoising(truth, denoising.draw_noise(truth)).contents_BND
    assert 0.2 < (classes != 0).float().mean() < 0.3


def test_without_any_box_there_is_no_query_and_the_embedding_has_a_gradient_of_zero() -> None:
    truth = make_truth(0, 0)
    denoising = Denoising(num_classes=NUM_CLASSES, channels=8, num_positives=12)
    queries = denoising(truth, denoising.draw_noise(truth))
    assert queries.contents_BND.shape == (2, 0, 8)
    assert queries.blocked(num_matched=3).shape == (3, 3)
    queries.contents_BND.sum().backward()
    assert torch.equal(denoising.class_embedding.weight.grad, torch.zeros(NUM_CLASSES, 8))
